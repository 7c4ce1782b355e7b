"""`python -m benchmarks.evaluator`."""

from benchmarks.evaluator.evaluator import COMMAND, main

COMMAND.run(main)
