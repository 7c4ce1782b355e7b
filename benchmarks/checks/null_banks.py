"""Do attacks, intervals and bounds claim leaks where there are none?

python -m benchmarks.checks.null_banks --bank=BANK.npz --out=results/bank/null.jsonl

Keeps the models' answers and draws the membership afresh, many times: trained models whose membership has
nothing to do with their training, or, if the bank was made with --null=untrained, models that never were
trained.  Prints, per attack, the mean AUC over draws; how often 0.5 is covered by the 95% interval over
records of the mean over targets, by the t interval over targets and by the bootstrap interval over one
target's records; and how often the epsilon bounds of one target are above zero (at most 5% of draws are
allowed to).
"""

import shlex
import sys
import time
from pathlib import Path

import numpy as np
from absl import flags

from jleaks import json_lines
from jleaks.attacks import score_files
from jleaks.attacks.bank import Bank
from jleaks.attacks.evaluate_bank import evaluate, missing, scores
from jleaks.attacks.references import assign
from jleaks.attacks.registry import get_attacks
from jleaks.data.splits import halves
from jleaks.errors import InputError
from jleaks.keys import Role
from jleaks.metrics.epsilon import epsilon_one_run, epsilon_over_thresholds
from jleaks.metrics.estimates import means
from jleaks.metrics.intervals import t_interval
from jleaks.metrics.resampling import bootstrap_records
from jleaks.training.execution import Execution
from jleaks.training.fleet import make_mesh
from jleaks.training.reporter import provenance
from launch.flags import run, use_all_cores

_BANK = flags.DEFINE_string("bank", None, "File of launch.bank.", module_name="Where")
_OUT = flags.DEFINE_string("out", None, "JSON lines to append to.", module_name="Where")
_DRAWS = flags.DEFINE_integer(
    "draws", 200, "Memberships drawn.", lower_bound=2, module_name="What is measured"
)
_MODELS = flags.DEFINE_integer(
    "num_models",
    16,
    "Models of the bank to use, even.",
    lower_bound=4,
    module_name="What is measured",
)
_ATTACKS = flags.DEFINE_list(
    "attacks",
    ["loss", "class_thresholds", "lira_offline", "rmia_offline", "lira_online", "bavaria"],
    "Attacks to run.",
    module_name="What is measured",
)


def redrawn(bank: Bank, draw: int) -> Bank:
    """Returns the same answers with a membership that has nothing to do with them."""
    audited = np.flatnonzero(~bank.population)
    found = halves("null", draw, len(audited), bank.num_models, len(audited), 0, Role.NULL)
    member = np.zeros_like(bank.member)
    member[:, audited] = found.member
    return Bank(**{**vars(bank), "member": member, "twins": True})


def main(_: list[str]) -> int:
    if _BANK.value is None:
        raise InputError("--bank names the file")
    attacks = get_attacks(_ATTACKS.value)
    use_all_cores()
    mesh = make_mesh()
    whole = score_files.read(_BANK.value)
    if _MODELS.value % 2 or _MODELS.value > whole.num_models:
        raise InputError(
            f"--num_models is {_MODELS.value}, expected even, at most {whole.num_models}"
        )
    bank = whole.take(slice(0, _MODELS.value))
    attacks = [attack for attack in attacks if missing(attack, bank) is None]
    began = time.monotonic()
    aucs: dict[str, list[float]] = {a.name: [] for a in attacks}
    counts = {a.name: np.zeros(5) for a in attacks}
    for draw in range(_DRAWS.value):
        null = redrawn(bank, draw)
        references, shadows = assign(null)
        metrics = evaluate(null, attacks, references, shadows, mesh)
        kept = scores(null, attacks, references, shadows)
        target = draw % bank.num_models
        audited = ~null.population
        for a, (row, attack) in enumerate(zip(metrics.auc, attacks, strict=True)):
            aucs[attack.name].append(float(row.mean()))
            mean, over_targets = means(metrics, a)["auc"], t_interval(row)
            mine, member = kept[attack.name][target, audited], null.member[target, audited]
            over_records = bootstrap_records(mine, member, seed=draw, num_resamples=400)
            counts[attack.name] += [
                mean.low <= 0.5 <= mean.high,
                over_targets.low <= 0.5 <= over_targets.high,
                over_records.low <= 0.5 <= over_records.high,
                epsilon_over_thresholds(mine, member).epsilon > 0,
                epsilon_one_run(mine, member, seed=draw).epsilon > 0,
            ]
    rows = []
    for attack in attacks:
        values = np.array(aucs[attack.name])
        of_mean, over_targets, over_records, thresholds, one_run = (
            counts[attack.name] / len(values)
        ).tolist()
        summary = {
            "task": bank.meta.get("task", "bank"),
            "null": bank.meta.get("plan", {}).get("null", "none").replace("none", "redrawn"),
            "attack": attack.name,
            "draws": len(values),
            "num_models": bank.num_models,
            "mean_auc": round(float(values.mean()), 6),
            "standard_error": round(float(values.std(ddof=1) / np.sqrt(len(values))), 6),
            "coverage_of_mean": of_mean,
            "coverage": over_targets,
            "coverage_over_records": over_records,
            "over_thresholds": thresholds,
            "one_run": one_run,
            "seconds": round(time.monotonic() - began, 1),
            "command": shlex.join(["python", "-m", "benchmarks.checks.null_banks", *sys.argv[1:]]),
            **provenance(bank.meta.get("fingerprint"), Execution(), bank.format),
        }
        print({k: v for k, v in summary.items() if k not in ("command", "versions", "fingerprint")})
        rows.append(summary)
    if _OUT.value:
        before = json_lines.read(_OUT.value) if Path(_OUT.value).exists() else []
        json_lines.write(_OUT.value, [*before, *rows])
        print(f"wrote {_OUT.value}")
    return 0


if __name__ == "__main__":
    run(main, "python -m benchmarks.checks.null_banks", __doc__ or "")
