"""A `Plan` is everything that defines the numbers; an `Execution` is everything that defines only speed.

The split is the contract of resuming: a run may continue on other hardware, with other packing and
chunks (another Execution), but never under another Plan; the fingerprint tells them apart.
"""

import dataclasses
from typing import Annotated, ClassVar, Literal

from jleaks.data.tasks import PAPER_TASKS, Task, check_digests, get_task
from jleaks.errors import InputError, refuse
from jleaks.experiments.base_plan import TaskPlan
from jleaks.fields import MOST_REPETITIONS, SOME, Share, problems
from jleaks.models.registry import NETWORKS, for_any_records

# Scaled-down parts keep at least this many records: below, the gap between training and test
# accuracy no longer resembles the full task's.
MIN_QUARTER = 400


@dataclasses.dataclass(frozen=True)
class Plan(TaskPlan):
    """Everything that defines the numbers of a run of the main job (see `TaskPlan` for the rest).

    Attributes:
      scale: Fraction of the paper's records per part, of which at least `MIN_QUARTER` are kept.
      adversaries: Adversaries to run, some of 1, 2 and 3.
      membership: Truth that attacks are held against: "true", or "shuffled" for the null check, in which
        members and non-members are told apart by a coin and every attack must fail.
    """

    kind: ClassVar[str] = "plan"

    scale: Share = 1.0
    adversaries: Annotated[tuple[Literal[1, 2, 3], ...], SOME] = (1, 2, 3)
    membership: Literal["true", "shuffled"] = "true"

    def validate(self) -> "Plan":
        """Checks everything that can be known before any data is read.

        Returns:
          The plan itself.

        Raises:
          InputError: names every problem at once.
        """
        # Further checks take the types for granted.
        refuse(problems(self))
        found = []
        if not self.tasks:
            found.append("no task was named")
        if self.defence is not None:
            # A plan is described without JAX.
            from jleaks.defences.defence import get_defence

            get_defence(self.defence)
        elif self.attacker == "aware":
            found.append("attacker is aware, but there is no defence to know of")
        for name in self.tasks:
            task = get_task(name)
            found += self.recipe(task).misfits(task)
        # More posteriors than these no task has.
        most = max(get_task(name).num_classes for name in (*PAPER_TASKS, *self.tasks))
        if self.top > most:
            found.append(f"top is {self.top}, expected at least 1 and at most {most}")
        check_digests(self.data)
        if len(set(self.tasks)) != len(self.tasks):
            found.append(f"a task is named twice in {','.join(self.tasks)}")
        if len(self.seeds) != len(self.tasks):
            found.append(f"{len(self.seeds)} numbers of seeds for {len(self.tasks)} tasks")
        for name, n in zip(self.tasks, self.seeds, strict=False):
            if not 1 <= n <= MOST_REPETITIONS:
                found.append(
                    f"num_seeds of {name} is {n}, expected at least 1 and at most {MOST_REPETITIONS}"
                )
        if NETWORKS[self.attack.model].images:
            found.append(f"attack model is {self.attack.model}, expected {for_any_records()}")
        if self.attack.augmentation != "none":
            found.append(f"attack augmentation is {self.attack.augmentation}, expected none")
        if self.attack.loss != "cross entropy":
            found.append(f"attack loss is {self.attack.loss}, expected cross entropy")
        refuse(found)
        return self

    def quarter(self, task: Task, num_records: int) -> int:
        """Returns q, the records in each part of a split of `num_records`.

        Raises:
          InputError: not even one batch of training records fits.
        """
        q = min(task.quarter, max(round(self.scale * task.quarter), MIN_QUARTER), num_records // 4)
        if q < self.target.batch_size:
            raise InputError(
                f"{task.name}: batch_size is {self.target.batch_size} but each part has only {q} of "
                f"{num_records} records; lower --batch_size"
            )
        if self.attack.batch_size > 2 * q:
            raise InputError(
                f"{task.name}: the attack's batch_size is {self.attack.batch_size} but it has only "
                f"{2 * q} rows to learn from; lower --attack_batch_size"
            )
        return q

    def size(self, task: Task, available: int) -> int:
        """Returns how many records of a task the run looks at.

        Args:
          task: One of the plan's.
          available: Records that there are (see `jleaks.data.origin`); of a synthetic stand-in (own data
            has none) the plan's share of them is made, always enough for four parts.
        """
        if self.source == "prepared" or task.records is not None:
            return available
        return max(round(self.scale * available), 4 * self.quarter(task, available))
