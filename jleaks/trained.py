"""One trained model of a finished main job, from its work directory."""

import dataclasses
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import numpy as np

from jleaks import datasets, packing, train
from jleaks.checkpoints import Store
from jleaks.datasets.dataset import Dataset
from jleaks.datasets.registry import Task, get_task
from jleaks.datasets.synthetic import synthetic
from jleaks.errors import InputError
from jleaks.fingerprint import fingerprint
from jleaks.keys import seed_problem
from jleaks.learner import Learner, State
from jleaks.plan import FORMAT, Execution, Plan, Recipe
from jleaks.splits import quarters

ModelRole = Literal["target", "shadow"]


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """A trained model and its part of the data.

    Attributes:
      learner: Encodes records and answers logits.
      state: Of this one model, on the host.
      data: The task's dataset.
      members: [q] positions in `data` of the records it was trained on.
      nonmembers: [q] positions of as many that it was not.
      fingerprint: Of the model: its plan, data, seed and role.
    """

    learner: Learner
    state: State
    data: Dataset
    members: np.ndarray
    nonmembers: np.ndarray
    fingerprint: str


def trained_model(
    workdir: str,
    task_name: str,
    seed: int,
    role: ModelRole,
    data_dir: str | None = None,
    line: Callable[[str], Any] = warnings.warn,
) -> Trained:
    """Reads one model of a finished `launch.sweep`.

    Args:
      workdir: Of the run.
      task_name: One of its tasks.
      seed: One of the task's seeds.
      role: Which of the two models of that seed.
      data_dir: Where prepared datasets are; needed unless the plan is synthetic.
      line: Called with one sentence if its checkpoint could not be verified.

    Raises:
      InputError: there is no such model, it is not trained to its end, or the data is another one.
    """
    if problem := seed_problem(seed):
        raise InputError(problem)
    if role not in get_args(ModelRole):
        raise InputError(f"role is {role}, expected one of {', '.join(get_args(ModelRole))}")
    plan = _read_plan(workdir)
    task = get_task(task_name)
    if task.name not in plan.tasks:
        raise InputError(f"{workdir} has no {task.name}; it has {', '.join(plan.tasks)}")
    num_seeds = plan.seeds[plan.tasks.index(task.name)]
    if not 0 <= seed < num_seeds:
        raise InputError(f"seed is {seed}; {task.name} in {workdir} has 0..{num_seeds - 1}")
    checkpoints = Path(workdir) / task.name / "checkpoints"
    if not checkpoints.is_dir():
        raise InputError(f"{checkpoints} does not exist: {task.name} is not trained yet")

    data = _load(plan, task, data_dir)
    quarter = plan.quarter(task, data.num_records)
    learner = packing.make_learner(plan.recipe(task), task.encoding, task.num_classes, Execution())
    fleet = plan.fleet_fingerprint(task, data.fingerprint())
    store = Store(checkpoints, fleet, line)
    try:
        found = store.restore(_template(learner, data, 2 * num_seeds))
    finally:
        store.close()
    # The fleet's order: model 2s is seed s's target, 2s + 1 its shadow (see `jleaks.engine`).
    model = 2 * seed + (role == "shadow")
    epochs = 0 if found is None else int(found[1][model])
    if found is None or epochs < plan.target.epochs:
        raise InputError(
            f"the {role} of {task.name}, seed {seed}, has {epochs} of {plan.target.epochs} epochs "
            f"behind it; finish {workdir} first"
        )
    split = quarters(task.name, seed, data.num_records, quarter)
    own = (
        (split.target_train, split.target_out)
        if role == "target"
        else (split.shadow_train, split.shadow_out)
    )
    return Trained(
        learner,
        jax.tree.map(lambda leaf: leaf[model], found[0]),
        data,
        *own,
        fingerprint=fingerprint("model", fleet, seed, role),
    )


def _read_plan(workdir: str) -> Plan:
    path = Path(workdir) / "plan.json"
    if not path.exists():
        raise InputError(f"{workdir} is not the work directory of a run: it has no plan.json")
    try:
        record = json.loads(path.read_bytes())
        fields: dict[str, Any] = record["plan"]
        if (found := fields.pop("format")) != FORMAT:
            raise InputError(f"{path} has format {found}, expected {FORMAT}")
        for name in ("target", "attack"):
            fields[name] = Recipe(**{**fields[name], "hidden": tuple(fields[name]["hidden"])})
        for name in ("tasks", "seeds", "adversaries"):
            fields[name] = tuple(fields[name])
        plan = Plan(**fields).validate()
        if plan.fingerprint() != record["fingerprint"]:
            raise InputError(
                f"{path} has the fingerprint {record['fingerprint']!r:.40}, its plan {plan.fingerprint()}: "
                "it was changed after the run; choose another --workdir, or run its command again"
            )
        return plan
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not the plan of launch.sweep: {error}") from error


def _load(plan: Plan, task: Task, data_dir: str | None) -> Dataset:
    """Reads, or makes, the dataset that the run was trained on."""
    if plan.source == "synthetic":
        quarter = plan.quarter(task, task.num_records)
        return synthetic(task.name, max(round(plan.scale * task.num_records), 4 * quarter))
    if data_dir is None:
        raise InputError("the run was trained on prepared data: say where it is with --data_dir")
    return datasets.load(task.name, data_dir)


def _template(learner: Learner, data: Dataset, num_models: int) -> State:
    """Shapes and types of the whole fleet's state; nothing is computed."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((num_models, *leaf.shape), leaf.dtype),
        train.template(learner, data.features),
    )
