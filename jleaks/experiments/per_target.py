"""Attacks that train models anew for each target: what some answered, and a run of one plan.

Their cost is training that no other target shares; beside them stand plain shadows, which all share.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jleaks.attacks.signals import bank_signal_fn
from jleaks.data.dataset import Dataset
from jleaks.data.perturbations import perturbation
from jleaks.data.splits import Halves
from jleaks.data.tasks import get_task
from jleaks.experiments.bank import lay_out
from jleaks.experiments.engine import checked, reread, training
from jleaks.experiments.per_target_plan import PerTargetPlan
from jleaks.experiments.querier import Querier
from jleaks.experiments.subjects import Subject
from jleaks.experiments.workdir import Workdir
from jleaks.rows import read_rows, write_rows
from jleaks.training.execution import Execution
from jleaks.training.reporter import Reporter, provenance

Row = dict[str, Any]
# From who trains and asks, the records and who has which of them to rows, less what all of them say.
AttackFn = Callable[[Querier, Dataset, Halves, Reporter], list[Row]]


class Asked(NamedTuple):
    """What some models answered about the records.

    Attributes:
      phi: [M, N] logit-scaled confidences.
      phi_t: [M, N] at the bank's temperature.
      member: [M, N] who trained on what.
      seconds: Device seconds that training all of them took.
    """

    phi: Float[np.ndarray, "models records"]
    phi_t: Float[np.ndarray, "models records"]
    member: Bool[np.ndarray, "models records"]
    seconds: float

    def take(self, models: slice) -> "Asked":
        """Returns some of the models, at their share of the seconds."""
        found = len(self.phi[models]) / len(self.phi)
        return Asked(
            self.phi[models], self.phi_t[models], self.member[models], self.seconds * found
        )


def joined(parts: Sequence[Asked]) -> Asked:
    """Puts models behind each other."""
    phi, phi_t, member, seconds = zip(*parts, strict=True)
    return Asked(np.concatenate(phi), np.concatenate(phi_t), np.concatenate(member), sum(seconds))


def ask(querier: Querier, models: Sequence[Subject], split: Halves, temperature: float) -> Asked:
    """Trains models and asks them about all audited records."""
    keep = bank_signal_fn(temperature, perturbation(get_task(models[0].task), 1, 1.0))
    found = querier.signals(models, split.candidates, keep)
    member = np.stack([np.isin(split.candidates, model.members) for model in models])
    seconds = querier.cost(models).device_seconds
    return Asked(found["phi"][..., 0], found["phi_t"], member, seconds)


def rows_of(
    plan: PerTargetPlan,
    attack_fn: AttackFn,
    about: Mapping[str, Any],
    execution: Execution,
    workdir: str,
    data_dir: str | None = None,
    models_dir: str | None = None,
    command: str = "",
    reporter: Reporter | None = None,
) -> list[Row]:
    """Returns the rows of a plan that has finished, or attacks and writes them.

    Args:
      plan: What defines the numbers.
      attack_fn: Trains, asks and attacks.
      about: Of the plan, what every row says beside task, source and seed.
      execution: How fast.
      workdir: Directory of this plan's results, `rows.jsonl`.
      data_dir: Where prepared datasets are; needed unless the plan is synthetic.
      models_dir: Where trained models are kept, `workdir` by default.
      command: Recorded in every row.
      reporter: Where to tell what is going on.

    Raises:
      InputError: anything about the input, before any long work.
      Preempted: a stop signal arrived; the same call continues.
      DivergedError: a model's loss was not finite.
    """
    reporter = checked(plan, execution, reporter)
    work = Workdir(workdir, plan)
    outcome = work.outcome("rows.jsonl")
    told = f"{plan.task}: reading {outcome.path}"
    found = reread(outcome, _read, lambda rows: rows, reporter, told)
    if found is not None:
        return found
    data, split = lay_out(plan.bank(), data_dir)
    whole = {
        "task": plan.task,
        "source": data.source,
        "seed": plan.seed,
        **about,
        **provenance(plan.fingerprint(), execution),
        "command": command,
    }
    with training(work, execution, lambda _: data, reporter, models_dir) as (querier, _):
        rows = [{**whole, **row} for row in attack_fn(querier, data, split, reporter)]
    with outcome.writing() as path:
        write_rows(path, rows, ())
    return rows


def _read(path: Path) -> list[Row]:
    return [dict(row) for row in read_rows(path, ())]
