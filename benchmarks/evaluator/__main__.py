"""`python -m benchmarks.evaluator`."""

from benchmarks.evaluator import evaluator
from launch.flags import run

run(evaluator.main, "python -m benchmarks.evaluator", evaluator.__doc__ or "")
