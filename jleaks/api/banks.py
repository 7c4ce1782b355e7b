"""Banks: many models of one task on random halves of its records, each attacked with all the others."""

import dataclasses
import functools
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from jleaks.attacks.attack import Attack
from jleaks.attacks.bank import Bank
from jleaks.attacks.evaluate_bank import NonFiniteScoresError, evaluate, scores
from jleaks.attacks.options import Options, published
from jleaks.attacks.references import References, assign
from jleaks.attacks.registry import get_attacks
from jleaks.attacks.requirements import refusal, without_shadows
from jleaks.data.origin import Origin, num_records
from jleaks.data.tasks import get_task
from jleaks.errors import InputError
from jleaks.experiments import bank_results
from jleaks.experiments.bank import train_bank as _train_bank
from jleaks.experiments.bank_plan import BankPlan, default_sizes
from jleaks.files import replace_file
from jleaks.metrics.bank_metrics import BankMetrics
from jleaks.report.bank_tables import bank_table, bank_title
from jleaks.report.figures.cost import draw_roc
from jleaks.report.figures.style import png
from jleaks.training.execution import Execution
from jleaks.training.fleet import make_mesh
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import Reporter


def train_bank(
    task: str,
    num_models: int = 64,
    *,
    data_dir: str | None = None,
    recipe: Recipe | None = None,
    num_candidates: int | None = None,
    num_population: int | None = None,
    num_queries: int = 1,
    num_targets: int = 0,
    seed: int = 0,
    workdir: str | os.PathLike[str] | None = None,
    execution: Execution | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Bank:
    """Trains a bank, and asks every model about every record.

    Args:
      task: Name of a task: one of the paper's, or one's own (`jleaks.register`).
      num_models: M, even, at least 4; each trains on a random half of the candidates.
      data_dir: Datasets prepared by `jleaks prepare`; None for synthetic stand-ins, or own data.
      recipe: How models are trained; None for the task's own network and the paper's recipe.
      num_candidates: N, the number of records audited; None for all but the population, up to 50,000.
      num_population: Records held out from all models; None for a sixth, up to 10,000.
      num_queries: Queries per record; the attacks that perturb records need more than one.
      num_targets: Protocol `disjoint`: the first so many models are targets, which train on halves of one
        half of the candidates; the others, their references, on halves of the other half.  0: all models
        train on halves of all candidates, and each is a target.
      seed: Of the bank.
      workdir: Where models and the bank are kept, so that a stopped run goes on; None for nowhere.
      execution: How fast.
      tell: Receives lines of progress.

    Raises:
      InputError: an argument cannot be used, or the task was not prepared.
      Preempted: a stop signal arrived; the same call continues.
      DivergedError: a model's loss was not finite.
    """
    source: Origin = "synthetic" if data_dir is None else "prepared"
    candidates, population = default_sizes(num_records(task, source, data_dir), num_targets)
    plan = BankPlan(
        task=task,
        num_models=num_models,
        num_candidates=candidates if num_candidates is None else num_candidates,
        num_population=population if num_population is None else num_population,
        seed=seed,
        source=source,
        recipe=recipe or dataclasses.replace(Recipe(), model=get_task(task).model),
        num_queries=num_queries,
        num_targets=num_targets,
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = str(workdir or scratch)
        return _train_bank(plan, execution or Execution(), folder, data_dir, Reporter(tell))


@dataclasses.dataclass(frozen=True, eq=False)
class AttackedBank:
    """Every attack on every model of a bank.

    Attributes:
      bank: What was attacked.
      attacks: Those that were run.
      references: Who was compared with whom.
      shadows: References of the targets' shadows; None where too few models are left to be any.
      metrics: Of every attack on every target.
      options: Parameters of the attacks.
      notes: What could not be run, and why.
      seconds: What evaluating took, compilation included.
    """

    bank: Bank
    attacks: list[Attack]
    references: References
    shadows: References | None
    metrics: BankMetrics
    options: Options
    notes: tuple[str, ...]
    seconds: float

    @functools.cached_property
    def as_rows(self) -> list[bank_results.Row]:
        """The same as `rows`, as rows of result files."""
        return bank_results.attack_rows(self.bank, self.attacks, self.metrics, self.references)

    @property
    def rows(self) -> pd.DataFrame:
        """One row per attack and target, with the target's own counts and intervals over records."""
        return pd.DataFrame(self.as_rows)

    @property
    def summary(self) -> pd.DataFrame:
        """One row per attack: means over targets, with 95% intervals over records."""
        return pd.json_normalize(self.summarised(), sep="_")

    def summarised(self, about: dict[str, Any] | None = None) -> list[bank_results.Row]:
        """Returns the same as `summary`, as rows of result files, each with some more fields."""
        return bank_results.summarise(self.as_rows, self.attacks, self.metrics, about)

    def table(self) -> None:
        """Prints the summary."""
        console = Console()
        console.print(bank_table(self.summarised()).to_rich(console))

    def records(self, target: int = 0) -> pd.DataFrame:
        """Returns one row per audited record of one target: position, label, member, each attack's score.

        Args:
          target: Which of the models attacked; the rows begin with what the first attack scores highest.
        """
        found = scores(self.bank, self.attacks, self.references, self.shadows, self.options)
        at = np.flatnonzero(self.references.audited(self.bank)[target])
        columns = {name: values[target, at] for name, values in found.items()}
        member = self.bank.member[self.references.targets[target], at]
        table = pd.DataFrame(
            {"record": at, "label": self.bank.labels[at], "member": member, **columns}
        )
        return table.sort_values(self.attacks[0].name, ascending=False, ignore_index=True)

    def plot_roc(self, path: str | os.PathLike[str]) -> Path:
        """Draws ROC curves, both axes logarithmic, into a PNG file."""
        figure = draw_roc(
            f"{bank_title(self.as_rows[0])}: ROC curves",
            [attack.name for attack in self.attacks],
            bank_results.GRID,
            np.asarray(self.metrics.roc / self.metrics.positives[..., None]),
            int(self.metrics.negatives.min()),
        )
        return replace_file(Path(path), png(figure))


def attack(
    bank: Bank,
    attacks: Sequence[str] = ("all",),
    *,
    num_references: int | None = None,
    options: Options | None = None,
    execution: Execution | None = None,
    records_per_block: int | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> AttackedBank:
    """Attacks every model of a bank, with the others as its references.

    An attack that cannot be run, or whose scores are not finite, is left out, and a note says why.

    Args:
      bank: From `jleaks.train_bank`, or read by `jleaks.attacks.bank.load` or
        `jleaks.attacks.score_files.read`.
      attacks: Names; "all" for every attack that the bank allows.
      num_references: Of each target; None for all.
      options: Parameters of attacks; None for those that were published for the task.
      execution: Says how many devices are used.
      records_per_block: Records scored at a time; None for all if they fit in memory.
      tell: Receives every note as soon as it is known.

    Raises:
      InputError: there is no such attack, or none can be run.
    """
    chosen = (options or published(str(bank.meta.get("task", "")))).validate()
    asked, mesh = get_attacks(attacks), make_mesh((execution or Execution()).num_devices)
    references, shadows = assign(bank, num_references)
    notes: list[str] = []

    def note(text: str | None) -> None:
        if text is not None:
            notes.append(text)
            tell(text)

    note(references.describe(bank))
    possible = []
    for one in asked:
        if (why := refusal(one, bank, references, shadows)) is None:
            possible.append(one)
        else:
            note(f"{one.name} left out: {why}")
    if not possible:
        raise InputError(f"none of the attacks can be run: {'; '.join(notes)}")
    note(without_shadows(bank, possible, shadows))
    tick = time.monotonic()
    while True:
        try:
            metrics = evaluate(bank, possible, references, shadows, mesh, chosen, records_per_block)
            break
        except NonFiniteScoresError as error:
            note(f"left out: {error}")
            possible = [one for one in possible if one.name not in error.attacks]
            if not possible:
                raise
    seconds = time.monotonic() - tick
    return AttackedBank(bank, possible, references, shadows, metrics, chosen, tuple(notes), seconds)
