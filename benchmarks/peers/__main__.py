"""`python -m benchmarks.peers`."""

from benchmarks.peers.peers import COMMAND, main

COMMAND.run(main)
