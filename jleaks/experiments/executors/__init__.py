"""Who runs the cells of a grid: this process one after the other, or a cluster's tasks."""

from jleaks.experiments.executors import local, on_ray  # noqa: F401
