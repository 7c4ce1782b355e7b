"""One trained model of a run, from its work directory and its library."""

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import numpy as np

from jleaks import packing, train
from jleaks.datasets.dataset import Dataset
from jleaks.datasets.origin import num_records, records
from jleaks.datasets.registry import get_task
from jleaks.errors import InputError
from jleaks.fingerprint import FORMAT
from jleaks.keys import seed_problem
from jleaks.learner import Learner, State
from jleaks.paper.answers import Asker
from jleaks.paper.library import Library
from jleaks.paper.plan import PaperPlan
from jleaks.paper.subjects import Cast
from jleaks.plan import Execution, Plan, Recipe
from jleaks.preemption import StopSignal
from jleaks.reporter import Reporter

ModelRole = Literal["target", "shadow"]


@dataclasses.dataclass(frozen=True, eq=False)
class Kept:
    """A trained model and its part of the data.

    Attributes:
      learner: Encodes records and answers logits.
      state: Of this one model, on the host.
      data: The task's dataset.
      members: [q] positions in `data` of the records it was trained on.
      nonmembers: [q] positions of as many that it was not.
      fingerprint: Of everything that defines the model's weights.
    """

    learner: Learner
    state: State
    data: Dataset
    members: np.ndarray
    nonmembers: np.ndarray
    fingerprint: str


def kept_model(
    workdir: str,
    task_name: str,
    seed: int,
    role: ModelRole,
    data_dir: str | None = None,
    models_dir: str | None = None,
    index: int = 0,
) -> Kept:
    """Reads one model of launch.sweep or launch.paper.

    Args:
      workdir: Directory of the run.
      task_name: One of its tasks.
      seed: One of the task's seeds.
      role: Which of the models of that seed.
      data_dir: Where prepared datasets are; needed unless the plan is synthetic.
      models_dir: Where the run keeps its models; None for `workdir` itself.
      index: Which of the seed's shadows; 0 is the main job's.

    Raises:
      InputError: there is no such model, it is not trained to its end, or the data is another one.
    """
    if problem := seed_problem(seed):
        raise InputError(problem)
    if role not in get_args(ModelRole):
        raise InputError(f"role is {role}, expected one of {', '.join(get_args(ModelRole))}")
    if index < 0 or (index and role == "target"):
        raise InputError(f"index is {index}, but a seed has one target, and shadows from 0")
    plan = _read_plan(workdir)
    task = get_task(task_name)
    if task.name not in plan.tasks:
        raise InputError(f"{workdir} has no {task.name}; it has {', '.join(plan.tasks)}")
    if seed >= plan.num_seeds(task.name):
        last = plan.num_seeds(task.name) - 1
        raise InputError(f"seed is {seed}; {task.name} in {workdir} has 0..{last}")
    folder = Path(models_dir or workdir)
    if not (folder / "models").is_dir():
        raise InputError(f"{folder} has no trained models: run the command of {workdir} first")

    size = plan.size(task, num_records(task.name, plan.source, data_dir))
    data = records(task.name, plan.source, data_dir, size)
    cast = Cast(plan, {task.name: size})
    subject = (
        cast.target(task.name, seed) if role == "target" else cast.shadow(task.name, seed, index)
    )
    recipe = cast.network(task.name)
    learner = packing.make_learner(recipe, task.encoding, task.num_classes, Execution())
    library = Library(folder, Execution(), Reporter(), StopSignal())
    name = Asker(library, lambda _: data, Execution()).name(subject)
    if library.find(name) is None:
        raise InputError(
            f"the {subject.name} is not among the trained models of {folder}; finish {workdir} first"
        )
    state = library.load([name], train.template(learner, data.features))
    return Kept(
        learner,
        jax.tree.map(lambda leaf: leaf[0], state),
        data,
        subject.members,
        subject.others,
        fingerprint=name,
    )


def _read_plan(workdir: str) -> Plan | PaperPlan:
    path = Path(workdir) / "plan.json"
    if not path.exists():
        raise InputError(f"{workdir} is not the work directory of a run: it has no plan.json")
    try:
        record = json.loads(path.read_bytes())
        fields: dict[str, Any] = record["plan"]
        if (found := fields.pop("format")) != FORMAT:
            raise InputError(f"{path} has format {found}, expected {FORMAT}")
        for name, value in fields.items():
            if isinstance(value, dict):
                fields[name] = Recipe(**{**value, "hidden": tuple(value["hidden"])})
            elif isinstance(value, list):
                fields[name] = tuple(value)
        # The share of the records has another name in each.
        plan = PaperPlan(**fields) if "share" in fields else Plan(**fields)
        if plan.validate().fingerprint() != record["fingerprint"]:
            raise InputError(
                f"{path} has the fingerprint {record['fingerprint']!r:.40}, its plan {plan.fingerprint()}: "
                "it was changed after the run; choose another --workdir, or run its command again"
            )
        return plan
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is not the plan of launch.sweep or launch.paper: {error}"
        ) from error
