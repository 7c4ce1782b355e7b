"""Every bad input is one line that names it, status 2, and nothing is touched: hundreds, from tables."""

import bad_inputs
import pytest
from bad_inputs.endpoints import serving
from bad_inputs.runner import run_case


@pytest.fixture(scope="module")
def url():
    with serving() as found:
        yield found


@pytest.mark.parametrize(
    ("table", "case"),
    [
        pytest.param(table, case, id=f"{table.command}-{case.name}")
        for table in bad_inputs.TABLES
        for case in table.cases
    ],
)
def test_one_line_and_nothing_touched(launcher, url, tmp_path, table, case):
    found = run_case(launcher(), table, case, tmp_path, url)
    assert not found.problems(), f"{found.problems()}\n{found.err}\n{found.out[-2000:]}"


def test_every_command_is_tried():
    from launch.commands import COMMANDS

    assert {table.command for table in bad_inputs.TABLES} == set(COMMANDS)
    assert bad_inputs.count() >= 300
