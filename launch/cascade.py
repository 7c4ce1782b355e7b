"""Attacks in rounds: shadows are trained anew for each target, on what the rounds before were sure of.

CMIA (Du et al., NDSS 2026): records that the attack is sure of are assumed in the next round's shadows.
Beside it stands the same attack with as many plain shadows.  Writes rows.jsonl (one row per target and
round, with device seconds), results.csv and tables.md.  Without --data_dir the task is a synthetic
stand-in.  Interrupt it anywhere: the same command continues from the models that are kept.

Example: python -m launch.cascade --tasks=location --num_targets=2 --num_shadows=4 --epochs=10
"""

from jleaks.experiments.cascade_plan import CascadePlan

from .app import run
from .per_target import Command

_COMMAND = Command(CascadePlan, "checkpoints/cascade")


def main(_: list[str]) -> int:
    """Runs the cascades."""
    from jleaks.experiments.cascade import cascade
    from jleaks.report.cascade_table import cascade_table

    return _COMMAND.run(cascade, cascade_table)


if __name__ == "__main__":
    run(main, "python -m launch.cascade", __doc__ or "")
