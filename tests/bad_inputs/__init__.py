"""Bad inputs of every command, as tables: `tests/launch/test_bad_input.py` tries them all."""

from . import attacks, audits, banks, datasets, reports, serves, sweeps

TABLES = (
    *(sweeps.SWEEP, banks.BANK, attacks.ATTACK, attacks.RECORDS, banks.PAPER, banks.DEFEND),
    banks.CASCADE,
    banks.IMITATE,
    *(audits.AUDIT, reports.GATE, reports.CELLS, reports.GATHER, datasets.PREPARE),
    *(reports.REPORT, reports.STATUS, serves.SERVE),
)


def count() -> int:
    """Returns how many bad inputs there are."""
    return sum(len(table.cases) for table in TABLES)
