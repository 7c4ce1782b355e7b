"""Do attacks, intervals and bounds claim leaks where there are none?

python -m benchmarks.checks.null_banks --bank=BANK.npz --out=results/bank/null.jsonl

Keeps the models' answers and draws the membership afresh, many times: trained models whose membership has
nothing to do with their training, or, if the bank was made with --null=untrained, models that never were
trained.  Prints, per attack, the mean AUC over draws; how often 0.5 is covered by the 95% interval over
records of the mean over targets and by the t interval over targets; and how often the epsilon bounds of
one target are above zero (at most 5% of draws are allowed to).
"""

import time

import numpy as np

from benchmarks.harness import OUT, Command, Flag, where
from jleaks.attacks import score_files
from jleaks.attacks.bank import Bank
from jleaks.attacks.evaluate_bank import evaluate, scores
from jleaks.attacks.references import assign
from jleaks.attacks.registry import get_attacks
from jleaks.attacks.requirements import missing
from jleaks.data.splits import halves
from jleaks.errors import InputError
from jleaks.keys import Role
from jleaks.metrics.epsilon import epsilon_one_run, epsilon_over_thresholds
from jleaks.metrics.estimates import means
from jleaks.metrics.intervals import t_interval
from jleaks.training.execution import Execution
from jleaks.training.fleet import make_mesh
from jleaks.training.reporter import provenance
from launch.app import use_all_cores

COMMAND = Command(
    "benchmarks.checks.null_banks",
    __doc__,
    bank=where("File of launch.bank."),
    draws=Flag("Memberships drawn.", 200, 2),
    num_models=Flag("Models of the bank to use, even.", 16, 4, even=True),
    attacks=Flag(
        "Attacks to run.",
        ["loss", "class_thresholds", "lira_offline", "rmia_offline", "lira_online", "bavaria"],
    ),
    out=OUT,
)
# What is counted over draws: intervals that cover 0.5, epsilon bounds above zero.
_COUNTED = ("coverage_of_mean", "coverage", "over_thresholds", "one_run")


def redrawn(bank: Bank, draw: int) -> Bank:
    """Returns the same answers with a membership that has nothing to do with them."""
    audited = np.flatnonzero(~bank.population)
    found = halves("null", draw, len(audited), bank.num_models, len(audited), 0, Role.NULL)
    member = np.zeros_like(bank.member)
    member[:, audited] = found.member
    return Bank(**{**vars(bank), "member": member, "twins": True})


def main() -> int:
    if COMMAND.bank is None:
        raise InputError("--bank names the file")
    attacks = get_attacks(COMMAND.attacks)
    use_all_cores()
    mesh = make_mesh()
    whole, most = score_files.read(COMMAND.bank), COMMAND.num_models
    if most > whole.num_models:
        raise InputError(f"--num_models is {most}, expected at most {whole.num_models}")
    bank = whole.take(slice(0, most))
    attacks = [attack for attack in attacks if missing(attack, bank) is None]
    began = time.monotonic()
    aucs: dict[str, list[float]] = {a.name: [] for a in attacks}
    counts = {a.name: np.zeros(len(_COUNTED)) for a in attacks}
    for draw in range(COMMAND.draws):
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
            counts[attack.name] += [
                mean.low <= 0.5 <= mean.high,
                over_targets.low <= 0.5 <= over_targets.high,
                epsilon_over_thresholds(mine, member).epsilon > 0,
                epsilon_one_run(mine, member, seed=draw).epsilon > 0,
            ]
    rows = []
    for attack in attacks:
        values = np.array(aucs[attack.name])
        shares = (counts[attack.name] / len(values)).tolist()
        summary = {
            "task": bank.meta.get("task", "bank"),
            "null": bank.meta.get("plan", {}).get("null", "none").replace("none", "redrawn"),
            "attack": attack.name,
            "draws": len(values),
            "num_models": bank.num_models,
            "mean_auc": round(float(values.mean()), 6),
            "standard_error": round(float(values.std(ddof=1) / np.sqrt(len(values))), 6),
            **dict(zip(_COUNTED, shares, strict=True)),
            "seconds": round(time.monotonic() - began, 1),
            "command": COMMAND.text(),
            **provenance(bank.meta.get("fingerprint"), Execution(), bank.format),
        }
        print({k: v for k, v in summary.items() if k not in ("command", "versions", "fingerprint")})
        rows.append(summary)
    return COMMAND.finish(rows)


if __name__ == "__main__":
    COMMAND.run(main)
