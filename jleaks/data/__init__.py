"""Datasets: what a task is, own data, preparing the paper's records, reading them.

Importing this package imports neither TFDS nor JAX.

>>> from jleaks.data.synthetic import synthetic
>>> get_task("location").num_classes
30
>>> data = synthetic("location", 50)
>>> data.features.shape, data.source
((50, 446), 'synthetic')
"""

from jleaks.data.dataset import Dataset
from jleaks.data.prepared import describe, load
from jleaks.data.sources.prepare import prepare
from jleaks.data.tasks import TASKS, Task, get_task, register, task_from_arrays

__all__ = [
    "TASKS",
    "Dataset",
    "Task",
    "describe",
    "get_task",
    "load",
    "prepare",
    "register",
    "task_from_arrays",
]
