"""One audit, by jleaks and by other tools: what is written, how long it takes, what comes out.

python -m benchmarks.peers --environments=DIR --out=results/audit_peers.jsonl

The job: a random forest of scikit-learn, trained on half of its digits, audited with 64 shadow models.
What a user of each tool writes is a file of this folder.  DIR holds an environment for each other tool:
DIR/sacroml (pip install sacroml) and DIR/art (pip install adversarial-robustness-toolbox scikit-learn
packaging); a tool without one is left out.  Tools take turns, each in a process of its own from the start
of Python to its end; seconds are of the clock, CPU seconds those of all its processes.
"""

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import (
    OUT,
    Command,
    Flag,
    Form,
    Layout,
    Row,
    finished,
    interpreter,
    machine,
    take_turns,
    where,
)
from jleaks.errors import InputError
from jleaks.training.execution import Execution

COMMAND = Command(
    "benchmarks.peers",
    __doc__,
    environments=where("Folder of the other tools' environments."),
    turns=Flag("Times that each tool runs.", 3, 1),
    out=OUT,
)
_HERE = Path(__file__).parent
# What a script has for the comparison alone.
_COMPARED, _IMPORTS = "# What is compared", ("import json", "import sys")


class Tool(NamedTuple):
    """A tool, and what a user of it writes.

    Attributes:
      title: As its table row begins.
      script: File of this folder.
      package: Distribution whose version is told.
      environment: Folder below --environments; none for the interpreter that runs this.
      arguments: Of the script.
    """

    title: str
    script: str
    package: str
    environment: str = ""
    arguments: Sequence[str] = ()

    def python(self) -> Path:
        """Returns its interpreter."""
        return interpreter(COMMAND.environments, self.environment)

    def version(self) -> str:
        """Returns the version that is installed."""
        asked = f"import importlib.metadata as m; print(m.version({self.package!r}))"
        return finished([str(self.python()), "-c", asked]).strip()


TOOLS = {
    "jleaks": Tool("jleaks", "with_jleaks.py", "jleaks"),
    "sacroml": Tool("SACRO-ML", "with_sacroml.py", "sacroml", "sacroml", ("offline",)),
    "sacroml_online": Tool(
        "SACRO-ML, online", "with_sacroml.py", "sacroml", "sacroml", ("online-carlini",)
    ),
    "art": Tool("ART", "with_art.py", "adversarial-robustness-toolbox", "art"),
}


def num_lines(script: str) -> int:
    """Returns the lines of code that a user writes, without what only the comparison needs."""
    text = (_HERE / script).read_text().split('"""', 2)[2].split(_COMPARED)[0]
    lines = [line.strip() for line in text.splitlines()]
    return sum(bool(line) and not line.startswith(("#", *_IMPORTS)) for line in lines)


def timed(
    words: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> tuple[str, Row]:
    """Runs a command; returns what it printed, and its seconds of the clock and of all its processes.

    Raises:
      InputError: it failed; with its last line.
    """
    with tempfile.NamedTemporaryFile() as out:
        clocked = [sys.executable, str(_HERE / "timed.py"), out.name, *words]
        try:
            printed = finished(clocked, cwd=folder, env=environment)
        except InputError as error:
            raise InputError(f"{words[0]} ... failed: {error}") from error
        return printed, json.load(out)


def audited(name: str, turn: int) -> Row:
    """Returns what a tool found in a fresh folder, how long it took, and what it wrote for a reader."""
    del turn
    tool = TOOLS[name]
    environment = {**os.environ, "PYTHONPATH": str(_HERE.parents[1])} if name == "jleaks" else None
    with tempfile.TemporaryDirectory() as folder:
        words = [str(tool.python()), str(_HERE / tool.script), *tool.arguments]
        try:
            printed, took = timed(words, Path(folder), environment)
        except InputError as error:
            return {"failed": str(error)}
        report = sorted(path.name for path in Path(folder, "audit").glob("report.[hp]*"))
    return {**json.loads(printed.splitlines()[-1]), **took, "report": report}


def _with_interval(field: str) -> Form:
    def cell(row: Row) -> str:
        low, high = row.get(f"{field}_interval", (None, None))
        return f"{row[field]:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")

    return cell


LAYOUT = Layout(
    "The same audit by other tools",
    "Seconds: from Python's start to the end, turn by turn.",
    [
        ("Tool", "{title} {version}"),
        ("Lines written", "{lines}"),
        ("Seconds", lambda row: ", ".join(f"{s:.0f}" for s in row["seconds"])),
        ("CPU seconds", lambda row: ", ".join(f"{s:.0f}" for s in row["cpu_seconds"])),
        ("Attack", "{attack}"),
        ("AUC", _with_interval("auc")),
        ("TPR at 1% FPR", _with_interval("tpr")),
        ("Report", lambda row: ", ".join(row["report"]) or "none"),
    ],
)


def main() -> int:
    before = machine()
    there = [name for name, tool in TOOLS.items() if tool.python().exists()]
    found = take_turns(
        COMMAND.turns,
        there,
        audited,
        lambda name, row: f"{name}: {row.get('failed') or round(row['seconds'])}",
    )
    rows = []
    for name, turns in found.items():
        tool, first = TOOLS[name], turns[0]
        if any("failed" in turn for turn in turns):
            continue
        rows.append(
            {
                "benchmark": "peers",
                "tool": name,
                "title": tool.title,
                "version": tool.version(),
                "lines": num_lines(tool.script),
                **{k: v for k, v in first.items() if k not in ("seconds", "cpu_seconds")},
                "seconds": [round(t["seconds"], 1) for t in turns],
                "cpu_seconds": [round(t["cpu_seconds"], 1) for t in turns],
                "turns": COMMAND.turns,
                **COMMAND.about(before, Execution()),
            }
        )
    return COMMAND.finish(rows, LAYOUT.table(rows))
