"""`python -m benchmarks.training`."""

from benchmarks.training.training import COMMAND, main

COMMAND.run(main)
