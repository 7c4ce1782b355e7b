"""`python -m benchmarks.private`."""

from benchmarks.private.private import COMMAND, main

COMMAND.run(main)
