"""Datasets: what a task is, preparing its records, reading them.

Importing this package imports neither TFDS nor JAX.
"""

from jleaks.datasets.dataset import Dataset
from jleaks.datasets.prepare import prepare
from jleaks.datasets.prepared import describe, load
from jleaks.datasets.registry import TASKS, Task, get_task

__all__ = ["TASKS", "Dataset", "Task", "describe", "get_task", "load", "prepare"]
