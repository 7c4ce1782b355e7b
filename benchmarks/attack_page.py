"""docs/attacks.md from committed results: every attack on every bank, and what the references cost.

python -m benchmarks.attack_page --results=results/bank --page=docs/attacks.md

--results holds one directory per bank with summary.jsonl and roc.png (of launch.attack), and, where it was
measured, cost.jsonl and cost.png (of benchmarks.attack_cost); null.jsonl (of benchmarks.null_banks) beside
them.
"""

import os
from pathlib import Path

from absl import flags

from benchmarks.attack_cost import cost_table
from jleaks.attacks.registry import ATTACKS
from jleaks.bank.results import Record, read_records
from jleaks.datasets.registry import TASKS
from jleaks.errors import InputError
from jleaks.report.bank_tables import audit_table, bank_table, number
from jleaks.report.cost import curve, knee
from jleaks.report.files import replace_file
from launch.flags import run

_RESULTS = flags.DEFINE_string("results", "results/bank", "Committed results.", module_name="Where")
_PAGE = flags.DEFINE_string("page", "docs/attacks.md", "The page to write.", module_name="Where")

# Shown side by side for all tasks; the best known of each family and need.
_MAIN = (
    *("loss", "class_thresholds", "quantile", "label_only"),
    *("calibrated", "attack_r", "lira_offline", "rmia_offline", "bavaria_offline"),
    *("lira_online", "rmia_online", "base_online", "bavaria"),
)

_HEAD = """# Attacks on banks of models

A *bank* is many models of one task, each trained on a random half of the same records. Every model is
the target of every attack in turn, the others are its references: one training, as many evaluations as
there are models. This page is generated from the committed rows in `results/bank/` by `python -m
benchmarks.attack_page`.

```
python -m launch.bank --tasks=location --data_dir=data --workdir=checkpoints/bank
python -m launch.attack --signals=checkpoints/bank/location/bank.npz
python -m benchmarks.attack_cost --banks=checkpoints/bank/location/bank.npz --out_dir=results/cost
```

## How to read the numbers

- Models come in *twins*: the second trains on the records that the first does not. A target's twin is
  never its reference, so that exactly half of the references hold any record, whether or not the target
  does. With the twin among them the count alone would tell.
- Thresholds (for precision, recall, balanced accuracy) come from a shadow model, attacked in the same
  way with references of its own; never from the target's membership. TPR at a stated FPR takes the
  operating point from the target's own ROC curve, as the literature does.
- ± is the half-width of a 95% t interval over the targets of one bank. Targets share records and
  references, so it says how far models of this bank differ, not how far another draw of records would.
- TPR at FPR f is the largest TPR among thresholds whose realised FPR is at most f; ties move together.
  Where f allows less than one non-member, it is the TPR above the highest non-member.
- RMIA is at temperature 2, BASE at temperature 1, as published; at one temperature their online forms
  rank records alike. RMIA's z are all records of the bank. BaVarIA's prior is ours
  (`jleaks/attacks/bavaria.py`), since only the family is taken from the paper. LiRA uses each record's
  own variance from 64 references on. "All queries" averages over the record and perturbed copies:
  shifts and mirror images, or noise up to twice the record's own length, most of which says little on
  these data.
"""


def _banks(folder: Path) -> dict[str, list[Record]]:
    found = {
        name: read_records(folder / name / "summary.jsonl")
        for name in TASKS
        if (folder / name / "summary.jsonl").exists()
    }
    if not found:
        raise InputError(f"{folder} has no TASK/summary.jsonl")
    return found


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _what_was_run(banks: dict[str, list[Record]]) -> list[str]:
    heads = [
        *("Bank", "Records", "Models", "Members of each", "Accuracy, members / non-members"),
        *("Training", "Device", "Evaluation of all attacks"),
    ]
    lines = ["## The banks", "", _line(heads), _line(["---"] * len(heads))]
    for name, records in banks.items():
        first = records[0]
        count = len(records) * first["num_targets"]
        lines.append(
            _line(
                [
                    TASKS[name].title,
                    first["source"],
                    str(first["num_models"]),
                    f"{first['num_members']:,.0f}",
                    f"{first['train_accuracy']:.3f} / {first['test_accuracy']:.3f}",
                    f"{first['training_seconds']:.0f} s",
                    first["device"],
                    f"{count:,} in {first['evaluation_seconds']:.0f} s, compilation included",
                ]
            )
        )
    versions = ", ".join(f"{k} {v}" for k, v in next(iter(banks.values()))[0]["versions"].items())
    return [*lines, "", f"Versions: {versions}.", ""]


def _side_by_side(banks: dict[str, list[Record]], metric: str, title: str) -> list[str]:
    lines = [f"## {title}", "", _line(["Attack", "Needs", *(TASKS[name].title for name in banks)])]
    lines.append(_line(["---", "---", *["---:"] * len(banks)]))
    needs = {"none": "-", "out": "OUT", "in and out": "IN, OUT"}
    by = {name: {r["attack"]: r for r in records} for name, records in banks.items()}
    for attack in _MAIN:
        cells = [number(by[n][attack][metric]) if attack in by[n] else "-" for n in banks]
        if any(cell != "-" for cell in cells):
            entry = ATTACKS[attack]
            lines.append(_line([entry.title, needs[entry.references], *cells]))
    return [*lines, ""]


def _ordering(banks: dict[str, list[Record]], folder: Path) -> list[str]:
    """What the literature reports, beside what was found."""
    lines = ["## What the literature reports, and what is found here", ""]
    for name, records in banks.items():
        by = {r["attack"]: r for r in records}
        tpr = {a: r["tpr_at_fpr_0.001"]["mean"] for a, r in by.items()}
        plain = max(v for a, v in tpr.items() if by[a]["needs"] == "none")
        best = max((a for a in tpr if by[a]["needs"] != "none"), key=lambda a: tpr[a])
        times = f"{tpr[best] / plain:.0f} times" if plain > 0 else "against none of"
        text = (
            f"- **{TASKS[name].title}.** TPR at 0.1% FPR: {tpr[best]:.4f} with references "
            f"({ATTACKS[best].title}), {times} the best without ({plain:.4f})."
        )
        cost = folder / name / "cost.jsonl"
        if cost.exists():
            text += " " + _few_and_many(read_records(cost))
        lines.append(text)
    return [*lines, ""]


def _few_and_many(records: list[Record]) -> str:
    metric = "tpr_at_fpr_0.001"
    counts = sorted({r["num_references"] for r in records})
    by = {(r["attack"], r["num_references"]): r[metric]["mean"] for r in records}
    names = list(dict.fromkeys(r["attack"] for r in records))

    def ahead(count: int) -> str:
        best = max(names, key=lambda name: by[name, count])
        return f"{ATTACKS[best].title} ({by[best, count]:.4f}) with {count}"

    few = 2 if 2 in counts else counts[0]
    knees = ", ".join(
        f"{ATTACKS[name].title} {knee(curve(records, name, 'auc'))}"
        for name in ("lira_online", "rmia_online", "bavaria")
        if name in names
    )
    return (
        f"Ahead by that measure: {ahead(few)} references, {ahead(counts[-1])}. Knee of the AUC "
        f"(references): {knees}."
    )


_NULL_HEADS = (
    *("Bank", "Null", "Attack", "Draws", "Mean AUC", "Its standard error"),
    *("95% interval covers 0.5", "Epsilon bound above 0: thresholds", "one run"),
)


_NULL_HEADS = (
    *("Bank", "Null", "Attack", "Draws", "Mean AUC", "Its standard error"),
    *("t interval over targets covers 0.5", "bootstrap over records covers 0.5"),
    *("epsilon over thresholds above 0", "epsilon of one run above 0"),
)

_NULL_TEXT = """Membership drawn afresh for trained models ("redrawn": it has nothing to do with who was
trained on), and models that were never trained: every attack must fail. No epsilon bound of 95% confidence
may be above zero in more than 5% of draws, up to the noise of so many draws. The intervals are
nominally 95%: that over one target's records covers as it says; the t interval over the targets of
one bank is too narrow for attacks that compare with references, because all targets share records
and references. It describes the bank, as said above; for a claim beyond it, train banks of other
seeds (`--seed`). Each draw uses 16 models (`python -m benchmarks.null_banks`)."""


def _null(folder: Path) -> list[str]:
    path = folder / "null.jsonl"
    if not path.exists():
        return []
    lines = ["## Null checks", "", _NULL_TEXT, "", _line(list(_NULL_HEADS))]
    lines.append(_line(["---", "---", "---", *["---:"] * 7]))
    for r in read_records(path):
        cells = [r["task"], r["null"], ATTACKS[r["attack"]].title, str(r["draws"])]
        cells += [f"{r['mean_auc']:.5f}", f"{r['standard_error']:.5f}"]
        shares = ("coverage", "coverage_over_records", "over_thresholds", "one_run")
        lines.append(_line(cells + [f"{r[name]:.3f}" for name in shares]))
    return [*lines, ""]


def page(folder: Path, beside: Path) -> str:
    """Returns the page.

    Args:
      folder: The committed results.
      beside: Directory that the page will lie in; figures are linked relative to it.
    """
    banks = _banks(folder)
    link = os.path.relpath(folder, beside)
    lines = [_HEAD, *_what_was_run(banks)]
    lines += _side_by_side(banks, "tpr_at_fpr_0.001", "TPR at 0.1% FPR")
    lines += _side_by_side(banks, "tpr_at_fpr_0.01", "TPR at 1% FPR")
    lines += _side_by_side(banks, "auc", "AUC")
    lines += _ordering(banks, folder)
    lines += _null(folder)
    for name, records in banks.items():
        lines += [f"## {TASKS[name].title}", "", bank_table(records).to_markdown()]
        if (folder / name / "audit.jsonl").exists():
            lines.append(audit_table(read_records(folder / name / "audit.jsonl")).to_markdown())
        lines += [f"![ROC curves of {name}]({link}/{name}/roc.png)", ""]
        if (folder / name / "cost.jsonl").exists():
            lines += [cost_table(read_records(folder / name / "cost.jsonl")).to_markdown()]
            lines += [f"![Attacks against references, {name}]({link}/{name}/cost.png)", ""]
    return "\n".join(lines).rstrip() + "\n"


def main(_: list[str]) -> int:
    target = Path(_PAGE.value)
    replace_file(target, page(Path(_RESULTS.value), target.parent).encode())
    print(f"wrote {target}")
    return 0


if __name__ == "__main__":
    run(main, "benchmarks.attack_page", __doc__ or "")
