"""The memory of growing banks: what is read of a process, and the table."""

import mmap
import os
from pathlib import Path

from benchmarks.scaling.bank_memory import LAYOUT, anonymous_mib


def test_anonymous_memory_is_that_of_a_process():
    status = Path(f"/proc/{os.getpid()}/status")
    before = anonymous_mib(status.read_text())
    # Fresh pages of the system: an array may lie in memory that the process has had before.
    with mmap.mmap(-1, 50 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
        held.write(b"1" * (50 << 20))
        assert 45 < anonymous_mib(status.read_text()) - before < 110
    assert anonymous_mib("Name: zombie\n") == 0


def test_the_table_has_a_line_per_bank():
    row = {
        "task": "location", "models": 64, "file_mib": 20.0, "bank_seconds": 10.0, "bank_mib": 300.0,
        "records_seconds": 5.0, "records_mib": 200.0, "cores": 2, "cpu": "a cpu", "commit": "abc",
    }  # fmt: skip
    table = LAYOUT.table([row, {**row, "models": 1024}])
    assert [line[0].text for line in table.rows] == ["64", "1,024"]
