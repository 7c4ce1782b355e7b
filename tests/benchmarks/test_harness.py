"""What benchmarks share: flags as attributes, turns, processes that answer, tables from layouts."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import harness, speed
from benchmarks.harness import Command, Flag, Layout, ranged, where
from jleaks.errors import InputError
from launch import app

# A benchmark of its own: what its flags are worth while it runs, as JSON.
_SCRIPT = """
import json
from benchmarks.harness import OUT, Command, Flag, where

COMMAND = Command(
    "somewhere", "A benchmark.", ("sizes", "seed"), {trains},
    sizes=Flag("Sizes.", ["1", "2"]), seed=Flag("Seed.", 3, 1), rate=Flag("Rate.", None, 0.5, float),
    quick=Flag("Quick.", False), kind=Flag("Kind.", "a", kind=("a", "b")), out=OUT, folder=where("Folder."),
)

def main():
    names = ("sizes", "seed", "rate", "quick", "kind", "out", "folder")
    print(json.dumps([{{name: getattr(COMMAND, name) for name in names}}, COMMAND.text()]))
    return 0

COMMAND.run(main)
"""


def script(*flags, trains=False):
    command = [sys.executable, "-c", _SCRIPT.format(trains=trains), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_flags_are_attributes_of_their_kinds():
    flags = ("--sizes=4,8", "--rate=0.75", "--quick", "--kind=b", "--folder=/there")
    done = script(*flags)
    assert done.returncode == 0, done.stderr
    values, text = json.loads(done.stdout)
    assert values == {
        "sizes": ["4", "8"], "seed": 3, "rate": 0.75, "quick": True, "kind": "b", "out": None,
        "folder": "/there",
    }  # fmt: skip
    # Places on this machine are left out of what rows say.
    assert text == "python -m somewhere --sizes=4,8 --rate=0.75 --quick --kind=b"
    # Where nothing was asked for the sizes are named.
    assert json.loads(script().stdout)[1] == "python -m somewhere --sizes=1,2 --seed=3"


@pytest.mark.parametrize(
    ("flag", "message"),
    [("--seed=0", "seed"), ("--rate=0.25", "rate"), ("--kind=c", "kind"), ("--size=1", "size")],
)
def test_flags_have_bounds_and_choices(flag, message):
    done = script(flag)
    assert done.returncode == app.INPUT_ERROR
    assert done.stderr.startswith("error: ")
    assert message in done.stderr


def test_help_has_the_flags_of_an_execution_only_where_one_is_used():
    plain, trains = (script("--help", trains=value).stdout for value in (False, True))
    assert "--models_per_call" in trains
    assert "--models_per_call" not in plain
    assert plain.index("Where:") < plain.index("--folder") < plain.index(f"{app.WHAT}:")
    assert plain.index(f"{app.WHAT}:") < plain.index("--seed") < plain.index("(default: '3')")


def test_several_benchmarks_may_have_flags_of_one_name():
    first = Command("a", None, size=Flag("Size.", 1))
    second = Command("b", None, size=Flag("Sizes.", ["x"]))
    assert (first.size, second.size) == (1, ["x"])


def test_names_and_numbers_are_checked():
    command = Command("a", None, tasks=Flag("Tasks.", ["one", "two"]))
    assert command.names("tasks", ["two", "one", "three"]) == ["one", "two"]
    with pytest.raises(InputError, match="--tasks names two; allowed: one"):
        command.names("tasks", ["one"])
    assert harness.whole_numbers("sizes", ["1", "20"]) == [1, 20]
    assert harness.whole_numbers("sizes", []) == []
    for texts in (["2", "1"], ["0"], ["1.5"], ["-1"]):
        with pytest.raises(InputError, match=f"--sizes is {','.join(texts)}, expected whole"):
            harness.whole_numbers("sizes", texts)


def test_contenders_take_turns_and_what_failed_is_left_out(capsys):
    seen = []

    def turn(name, number):
        seen.append((name, number))
        return {"failed": "no"} if name == "b" else {"seconds": number}

    found = harness.take_turns(3, ("a", "b", "c"), turn, lambda name, answer: f"{name}: {answer}")
    assert seen == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("c", 1), ("a", 2), ("c", 2)]
    assert found["a"] == [{"seconds": number} for number in range(3)]
    assert found["b"] == [{"failed": "no"}]
    assert capsys.readouterr().out.splitlines()[:2] == [
        "turn 1, a: {'seconds': 0}",
        "turn 1, b: {'failed': 'no'}",
    ]


def test_the_last_run_is_what_ends_a_file():
    rows = [{"command": c, "commit": "x", "load_before": 0, "n": i} for i, c in enumerate("aabb")]
    assert [r["n"] for r in harness.last_run(rows)] == [2, 3]
    assert harness.last_run(rows[:1]) == rows[:1]


_ANSWERING = """
import json, sys, time
for line in sys.stdin:
    request = json.loads(line)
    if request == "end":
        sys.exit("error: told to end")
    time.sleep(60 if request == "sleep" else 0)
    print(json.dumps({"twice": 2 * request}), flush=True)
"""


def test_a_process_answers_line_by_line():
    process = harness.Answering([sys.executable, "-c", _ANSWERING])
    assert [process.ask(number)["twice"] for number in (1, 2)] == [2, 4]
    with pytest.raises(InputError, match=r"^told to end$"):
        process.ask("end")
    process.close()
    process = harness.Answering([sys.executable, "-c", _ANSWERING])
    with pytest.raises(InputError, match="no answer within 0 s"):
        process.ask("sleep", 0.1)


def test_a_child_that_fails_is_its_last_line():
    with pytest.raises(InputError, match="No module named"):
        Command("benchmarks.nothing", None).child()


def test_a_table_is_made_of_rows_by_its_layout():
    layout = Layout(
        "On {device}",
        "{extra} of {seconds[median]:.0f}.",
        [
            ("Name", "{name}"),
            ("Seconds", ranged("seconds", ".1f")),
            ("Twice", lambda row: str(2 * row["count"]), "none"),
            ("Ratio", "{ratio:.2f}", "-"),
        ],
        section="{name}",
        marked=lambda row: row["name"] == "b",
    )
    seconds = {"median": 2.0, "least": 1.0, "largest": 3.5}
    rows = [
        {"device": "cpu", "name": "a", "seconds": seconds, "count": 4, "ratio": 0.5},
        {"name": "a", "seconds": seconds, "ratio": None},
        {"name": "b", "seconds": seconds, "count": 1},
    ]
    table = layout.table(rows, extra="More")
    assert (table.title, table.caption) == ("On cpu", "More of 2.")
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["a", "2.0 (1.0-3.5)", "8", "0.50"],
        ["a", "2.0 (1.0-3.5)", "none", "-"],
        ["b", "2.0 (1.0-3.5)", "2", "-"],
    ]
    assert [row[0].marked for row in table.rows] == [False, False, True]
    assert table.section_ends == {1}
    # A column that says nothing of a lack does not hide one.
    with pytest.raises(KeyError, match="seconds"):
        layout.table([{**rows[0], "seconds": seconds}, {"name": "c"}], extra="")


def test_places_are_in_the_group_of_places():
    assert where("A file.").group == app.WHERE
    assert Flag("A size.", 1).group == app.WHAT


def test_commands_that_are_named_exist():
    moved = (Path(__file__).parents[2] / "results" / "README.md").read_text()
    now = re.findall(
        r"^\| `(benchmarks\.[\w.]+)` \| `(benchmarks\.[\w.]+)[^`]*` \|$", moved, re.MULTILINE
    )
    assert len(now) == 13
    gone = [old for old, _ in now if importlib.util.find_spec(old)]
    assert gone == []
    for module in [*(new for _, new in now), *(command[0] for command in speed.RUNS.values())]:
        assert importlib.util.find_spec(module), module
    for package in ("training", "evaluator", "accelerator"):
        assert importlib.util.find_spec(f"benchmarks.{package}.__main__"), package
