"""What a command finds around it: no reader, a full disk behind the output, no home, another language."""

import os
import subprocess
import sys

import pytest


def ran(*words, cwd, **how):
    """Runs Python; returns its status and what it said of errors."""
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, stderr=subprocess.PIPE, text=True, check=False, **how
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.fixture
def nobody():
    """The end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.fixture
def run(tmp_path):
    """A directory of which there is something to tell."""
    (tmp_path / "plan.json").write_text('{"plan": {"tasks": ["location"]}, "fingerprint": "x"}')
    return tmp_path


def test_a_run_goes_on_without_a_reader(launch, nobody):
    code = (
        "import sys\n"
        "from launch.log import console\n"
        "output = console()\n"
        "for _ in range(3):\n"
        "    output.print('a line', highlight=False)\n"
        "print('went on', file=sys.stderr)\n"
    )
    assert ran("-c", code, cwd=launch.root, stdout=nobody) == (0, "went on\n")


def test_what_is_only_told_ends_without_a_word(launch, nobody, run):
    said = ran("-m", "jleaks", "status", str(run), cwd=launch.root, stdout=nobody)
    assert said == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_behind_the_output_is_one_line(launch, run):
    with open("/dev/full", "w") as full:
        status, said = ran("-m", "jleaks", "status", str(run), cwd=launch.root, stdout=full)
    assert (status, said) == (2, "error: cannot use the output: No space left on device\n")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"HOME": None}, id="no home"),
        pytest.param({"HOME": "/proc/1"}, id="a home that cannot be written"),
        pytest.param({"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}, id="ascii"),
        pytest.param({"PYTHONOPTIMIZE": "2"}, id="no docstrings"),
        pytest.param({"TMPDIR": "/nowhere"}, id="no folder for temporary files"),
        pytest.param({"PATH": "/nowhere"}, id="no programs"),
    ],
)
def test_bad_input_is_one_line_wherever_it_is_typed(launch, tmp_path, changes):
    environment = {**os.environ, "PYTHONPATH": str(launch.root), **changes}
    environment = {name: value for name, value in environment.items() if value is not None}
    words = ("-m", "jleaks", "status", "--run=n\u00f6where")
    status, said = ran(*words, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    assert status == 2, said
    assert said.count("\n") == 1
    assert said.startswith("error: n")
    assert "where is no directory" in said
    assert not list(tmp_path.iterdir())
