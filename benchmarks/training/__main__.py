"""`python -m benchmarks.training`."""

from benchmarks.training import training
from launch.flags import run

run(training.main, "python -m benchmarks.training", training.__doc__ or "")
