"""`python -m benchmarks.accelerator`."""

from benchmarks.accelerator.accelerator import COMMAND, main

COMMAND.run(main)
