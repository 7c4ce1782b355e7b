"""docs/defences.md: what defences there are, and what committed rows say of them.

python -m benchmarks.pages.defences --results=results/defences --page=docs/defences.md

--results holds a directory for each task, with the rows.jsonl and the figure of launch.defend.
"""

import os
from pathlib import Path

from benchmarks.harness import Command, where
from jleaks.files import replace_file
from jleaks.report.defences import by_task, table
from jleaks.rows import OF_EXPERIMENT, read_rows

COMMAND = Command(
    "benchmarks.pages.defences",
    __doc__,
    results=where("Committed results.", "results/defences"),
    page=where("The page to write.", "docs/defences.md"),
)

_HEAD = """# Defences

A defence belongs to a target and, with an attacker who knows of it, to the shadows. Its strength is
data: models that differ in it alone train and answer as one fleet.

```
jleaks sweep --tasks=location --defence=dpsgd:1.0,1.0 --attacker=aware
jleaks sweep --tasks=location --target_epsilon=4 --delta=1e-5
jleaks bank --tasks=location --defence=label_smoothing:0.1
jleaks defend --tasks=location --defences=dpsgd,label_smoothing,dropout
jleaks defend --tasks=location --strengths="dpsgd:0.5,1;dpsgd:2,1;top_k:1"
```

| name | strength | what it changes |
| --- | --- | --- |
| `dropout` | ratio of the input, of hidden layers | training (Salem et al. 2019, VII-A) |
| `stacking` | c | several models answer as one (VII-B) |
| `dpsgd` | noise, clip[, rate[, delta]] | training: DP-SGD (Abadi et al. 2016) at a stated noise |
| `dpsgd_epsilon` | epsilon, clip[, rate[, delta]] | the same at the least noise that guarantees epsilon |
| `label_smoothing` | share | training: softer labels |
| `confidence_penalty` | weight | training: entropy of the posterior is rewarded |
| `hamp_training` | entropy[, weight] | training part of HAMP (Chen & Pattabiraman 2024) alone |
| `weight_decay` | penalty | training: squared weights, beside the recipe's own |
| `early_stopping` | epochs | training ends earlier |
| `relaxloss` | alpha | training (Chen, Yu & Fritz 2022, algorithm 1) |
| `mixup` | parameter | training: records and labels are mixed (Zhang et al. 2018) |
| `temperature` | temperature | answers are flatter or sharper |
| `rounding` | digits | answers are rounded |
| `top_k` | classes | the largest posteriors alone; the others share the rest |

One of your own is a function in a file: `examples/own_defence.py`.

## DP-SGD

Every record takes part in a step with the same probability, the rate (by default batch size / members),
independently of the others (Poisson sampling). A batch is computed in masked blocks of a fixed size, as
many as it takes: there is no largest batch, nothing is cut off, and what is accounted is what runs. A
record's gradient is scaled to a norm of at most `clip`; Gaussian noise of deviation `noise * clip` is
added to the sum, which is divided by the *expected* batch. An epoch has as many steps as without:
members // batch size. Noise, clip and rate are data, so that seeds x noise are one fleet and one
compiled call; what is drawn comes from the model's key, epoch and step.

Networks of fully connected layers never form the gradient of a record: its norm follows from a layer's
inputs and output gradients, and the clipped sum from the same backward pass. Other networks form those
of a block, which packing counts. With the CPU kernels, random words and Adam's step come from them,
products from XLA. Batch normalisation is refused.

Rows carry `epsilon` (an upper bound by the privacy loss distribution; null without noise), `delta`,
`noise`, `clip` and `rate`. Neighbours add or remove one record. `jleaks.metrics.privacy_accounting` has
the accountants, by Renyi divergence and by privacy loss distribution; tests hold them to closed forms
and to dp-accounting's values. Not covered by the guarantee: statistics of an encoding that are fitted
on members, choices of hyper-parameters, the losses that progress is told by, and attacks on
floating-point noise.
"""


def page(results: Path, folder: Path) -> str:
    """Returns the page.

    Args:
      results: A directory of rows for each task; those that are missing are left out.
      folder: Where the page will be, which links to figures start from.
    """
    parts = [_HEAD]
    for path in sorted(results.glob("*/rows.jsonl")):
        rows = read_rows(path, OF_EXPERIMENT)
        for task, own in by_task(rows).items():
            versions = ", ".join(f"{name} {v}" for name, v in own[0]["versions"].items())
            made = f"`{own[0]['command']}`; {own[0]['device']}; {versions}."
            parts += [f"## {task}", made, table(task, own).to_markdown()]
            figure = path.parent / f"defences_{task}.png"
            if figure.exists():
                parts.append(f"![Defences on {task}]({os.path.relpath(figure, folder)})")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def main() -> int:
    target = Path(COMMAND.page)
    replace_file(target, page(Path(COMMAND.results), target.parent).encode())
    print(f"wrote {target}")
    return 0


if __name__ == "__main__":
    COMMAND.run(main)
