"""What defines a bank's numbers."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar, Literal

from jleaks.data.tasks import Task, check_digests, get_task, own_digests
from jleaks.errors import InputError
from jleaks.experiments.base_plan import BasePlan
from jleaks.fields import Count, Factor, Number, Repetitions, Seed, problems
from jleaks.training.recipe import Recipe

if TYPE_CHECKING:
    from jleaks.data.perturbations import Perturbation

# By default a sixth of the records is held out from all models, and no more than this takes part.
_MOST_CANDIDATES = 50_000
_MOST_POPULATION = 10_000
_POPULATION_SHARE = 6

# The paper's, as in the main job.
MODEL_RECIPE = Recipe()

LEAST_MODELS = 4
"""Of a bank: a target, its twin, and two references."""

# Regressions of non-members' scores on their features (see `jleaks.attacks.quantile`).
QUANTILE_RECIPE = Recipe("mlp", (64,), 30, 50, 1e-3, 1e-6, loss="quantile", quantile=0.99)


@dataclasses.dataclass(frozen=True)
class BankPlan(BasePlan):
    """Everything that defines the numbers of one bank.

    Attributes:
      task: Name of the task.
      num_models: M, the number of models in the bank, even.
      num_candidates: N, the number of records audited, even; each model trains on half of them.
      num_population: Number of records held out from all models.
      seed: Seed of the bank; independent banks of one task have different ones.
      source: Where the records come from: "prepared" (from disk) or "synthetic".
      recipe: Recipe of the models, their network included.
      num_queries: Q, the number of queries per record: the record itself and Q - 1 perturbed copies.
      noise: Length of the largest perturbation relative to the record's, where it is noise (see
        `jleaks.data.perturbations`).
      temperature: Softmax temperature at which RMIA, and BASE tempered, take a model's posteriors.
      quantile: Recipe of the quantile regressions; they need a population of at least a batch.
      null: Null check in which every attack must fail, if any: "none"; "shuffled" (membership drawn afresh
        after training) or "untrained" (models at their random start).
      defence: Defence of all models and its strength, "NAME:STRENGTH", such as "dropout:0.5,0.5": whoever
        attacks with the bank knows of it; None for none.
      data: An entry "NAME=DIGEST" if the task brings its own data; found when a plan is made.
      answers: What answers are kept as: "float32", or "float16", which halves the bank's file and keeps
        three digits of each.
      canaries: Records made easy to tell that take the place of candidates, "KIND:COUNT,...", such as
        "mislabelled:100" (see `jleaks.data.canaries`); None for none.
      loss_trace: Points of a model's training, evenly spaced over its epochs, after which its loss on every
        record is looked at, for the attack `lt_iqr`; 0 for none.
      boundary: Queries about each record for the distance to where the label changes, which the attack
        `hop_skip_jump` needs, and which takes as many times as long to ask; 0 for none.
      num_targets: Protocol `disjoint`: so many models, even, are targets and train on halves of one half of
        the candidates; the others, their references, train on halves of the other half.  0 for the protocol
        in which every model trains on a half of all candidates, a target and the others' reference.
    """

    kind: ClassVar[str] = "bank"

    task: str
    num_models: Repetitions
    num_candidates: Count
    num_population: Number
    seed: Seed = 0
    source: Literal["prepared", "synthetic"] = "synthetic"
    recipe: Recipe = MODEL_RECIPE
    num_queries: Count = 9
    noise: Factor = 2.0
    temperature: Factor = 2.0
    quantile: Recipe = QUANTILE_RECIPE
    null: Literal["none", "shuffled", "untrained"] = "none"
    defence: str | None = None
    data: tuple[str, ...] = ()
    answers: Literal["float32", "float16"] = "float32"
    canaries: str | None = None
    loss_trace: Number = 0
    boundary: Number = 0
    num_targets: Number = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", own_digests([self.task], self.data))

    def validate(self) -> "BankPlan":
        """Checks everything that can be known before any data is read.

        Returns:
          The plan itself.

        Raises:
          InputError: names every problem at once.
        """
        if found := problems(self):
            # Further checks take the types for granted.
            raise InputError(f"{self.task}: {'; '.join(found)}")
        task = get_task(self.task)
        check_digests(self.data)
        # What the regressions learn is no class.
        classes = dataclasses.replace(self.quantile, loss="cross entropy")
        found = self.recipe.misfits(task)
        found += [f"quantile {problem}" for problem in classes.misfits(task)]
        if self.num_models < LEAST_MODELS or self.num_models % 2:
            found.append(
                f"num_models is {self.num_models}, expected an even number of at least {LEAST_MODELS}: "
                "models come in pairs that share the records between them"
            )
        if self.num_candidates < 2 or self.num_candidates % 2:
            found.append(f"num_candidates is {self.num_candidates}, expected an even number >= 2")
        if self.num_targets:
            found += self._disjoint_problems()
        most = self.perturbation().most_queries
        if most is not None and self.num_queries > most:
            found.append(f"num_queries is {self.num_queries}, {self.task} has {most} at most")
        if self.quantile.loss != "quantile":
            found.append(f"quantile loss is {self.quantile.loss}, expected quantile")
        if self.defence is not None:
            # A plan is made and described without JAX.
            from jleaks.defences.defence import get_defence

            if get_defence(self.defence).composite is not None:
                found.append(f"defence is {self.defence}, but a bank's models answer each alone")
        if self.canaries is not None:
            from jleaks.data.canaries import problem

            found += [text] if (text := problem(self.canaries, self.num_candidates)) else []
        if self.loss_trace and not 2 <= self.loss_trace <= self.recipe.epochs:
            found.append(
                f"loss_trace is {self.loss_trace}, expected 0 or from 2 points to one after each of the "
                f"{self.recipe.epochs} epochs"
            )
        if self.boundary:
            found += self._boundary_problems(task)
        if self.num_members < self.recipe.batch_size:
            found.append(
                f"batch_size is {self.recipe.batch_size} but each model trains on only "
                f"{self.num_members} records; lower --batch_size"
            )
        if found:
            raise InputError(f"{self.task}: {'; '.join(found)}")
        return self

    def _boundary_problems(self, task: Task) -> list[str]:
        """Returns one sentence for each reason why HopSkipJump cannot ask."""
        from jleaks.attacks.hop_skip_jump import LEAST_QUERIES
        from jleaks.data import encodings

        found = []
        if self.boundary < LEAST_QUERIES:
            found.append(
                f"boundary is {self.boundary}, expected 0 or {LEAST_QUERIES} queries at least"
            )
        if not encodings.find(task.encoding).continuous:
            found.append(
                f"boundary is {self.boundary}, but records of {self.task} have zeros and ones, codes or "
                "counts, between which there is nothing to ask about; expected 0"
            )
        return found

    def _disjoint_problems(self) -> list[str]:
        """Returns one sentence for each thing that protocol `disjoint` does not allow."""
        found = []
        if self.num_targets % 2 or self.num_targets > self.num_models - LEAST_MODELS:
            found.append(
                f"num_targets is {self.num_targets} of {self.num_models} models, expected an even number "
                f"that leaves at least {LEAST_MODELS} references"
            )
        if self.num_candidates % 4:
            found.append(
                f"num_candidates is {self.num_candidates}, expected a multiple of 4 with --num_targets: "
                "targets and references train on halves of either half"
            )
        if self.canaries is not None:
            found.append(
                f"canaries are {self.canaries}, num_targets is {self.num_targets}; expected one of them: "
                "references that cannot train on a target's records cannot on its canaries"
            )
        return found

    @property
    def num_members(self) -> int:
        """How many records each model trains on."""
        return self.num_candidates // (4 if self.num_targets else 2)

    def digests(self) -> dict[str, str]:
        """Returns the digest of the file of a user's defence."""
        return self.defence_digests(self.defence)

    def perturbation(self) -> "Perturbation":
        """Returns the queries asked about each record."""
        # A plan is made and described without JAX.
        from jleaks.data.perturbations import perturbation

        return perturbation(get_task(self.task), self.num_queries, self.noise)


def default_sizes(num_records: int, num_targets: int = 0) -> tuple[int, int]:
    """Returns how many candidates and population records are taken from `num_records`."""
    parts = 4 if num_targets else 2
    population = min(num_records // _POPULATION_SHARE, _MOST_POPULATION)
    return min((num_records - population) // parts * parts, _MOST_CANDIDATES), population
