"""Fleets that benchmarks train: models of one recipe on parts of one dataset, as launchers lay them out."""

import numpy as np

from jleaks.data.tasks import Task
from jleaks.keys import Role, identity_key
from jleaks.training import packing
from jleaks.training.execution import Execution
from jleaks.training.fleet import stack_key_data
from jleaks.training.learner import Members
from jleaks.training.recipe import Recipe
from jleaks.training.trainer import FleetSpec


def random_records(task: Task, total: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns features [total, ...] and labels [total] of a task's shapes, the same on every call."""
    rng = np.random.default_rng(0)
    top = 2 if task.encoding == "binary" else 256
    features = rng.integers(0, top, (total, *task.feature_shape)).astype(task.feature_dtype)
    return features, rng.integers(0, task.num_classes, total).astype(np.int32)


def random_parts(num_models: int, size: int, total: int) -> np.ndarray:
    """Returns the records that each model trains on, some of `total`; [num_models, size] int32."""
    rng = np.random.default_rng(0)
    return np.stack([rng.permutation(total)[:size] for _ in range(num_models)]).astype(np.int32)


def fleet_spec(
    task: Task,
    recipe: Recipe,
    records: tuple[np.ndarray, np.ndarray],
    parts: np.ndarray,
    execution: Execution,
    role: Role = Role.BANK_MODEL,
) -> FleetSpec:
    """Returns a fleet of one model for each part.

    Args:
      task: What is learned.
      recipe: How.
      records: Features and labels.
      parts: Positions that each model trains on, [models, records].
      execution: Whose kernels and form of convolution the learner has.
      role: Of the models, in their keys.
    """
    count, size = parts.shape
    return FleetSpec(
        name=task.name,
        names=[f"model {i} of {task.name}" for i in range(count)],
        learner=packing.make_learner(recipe, task.encoding, task.num_classes, execution),
        features=records[0],
        labels=records[1],
        members=Members(parts, np.full(count, size, np.int32)),
        key_data=stack_key_data([identity_key(0, task.name, role, i) for i in range(count)]),
    )
