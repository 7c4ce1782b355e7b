"""Attacks by imitators: a few models imitate each target, beside many plain shadows.

IMIA (zealscott/IMIA, December 2025): imitators are trained towards what the target answers about the
attacker's records, who has the audited ones (--setting=adaptive) or not (disjoint).  Beside them stand
LiRA, RMIA and, of the second, PMIA with as many plain shadows and with ten times as many.  Writes
rows.jsonl (a row per attack, with device seconds), results.csv and tables.md.  Without --data_dir the task
is a synthetic stand-in.  Interrupt it anywhere: the same command continues from the models that are kept.

Example: python -m launch.imitate --tasks=location --num_targets=2 --num_imitators=4 --num_shadows=8
"""

from jleaks.experiments.imitation_plan import ImitationPlan

from .app import run
from .per_target import Command

_COMMAND = Command(ImitationPlan, "checkpoints/imitation")


def main(_: list[str]) -> int:
    """Runs the attacks."""
    from jleaks.experiments.imitation import imitate
    from jleaks.report.imitation_table import imitation_table

    return _COMMAND.run(imitate, imitation_table)


if __name__ == "__main__":
    run(main, "python -m launch.imitate", __doc__ or "")
