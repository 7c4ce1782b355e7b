"""What all benchmarks share: a command with its flags, turns, processes, rows and their origin, tables."""

# ruff: noqa: F401 - imported to be taken from here.

from benchmarks.harness.command import (
    DATA_DIR,
    OUT,
    Command,
    Flag,
    check_names,
    where,
    whole_numbers,
)
from benchmarks.harness.layout import Form, Layout, ranged
from benchmarks.harness.origin import Row, append, last_run, machine, versions
from benchmarks.harness.processes import (
    Answering,
    children_seconds,
    finished,
    interpreter,
    last_line,
    peak_megabytes,
    reason,
)
from benchmarks.harness.turns import KNEE_WITHIN, knee, spread, take_turns
