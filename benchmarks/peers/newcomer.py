"""From an empty environment to the open report: how long a newcomer's first audit takes.

python -m benchmarks.peers.newcomer --out=results/audit_newcomer.jsonl --pictures=docs/images

Three ways, each in an environment of its own, in an empty folder and with an empty home: records in an
npz and a flax network (the one that docs/audit.md prints), a scikit-learn forest
(`examples/audit_forest.py`), and a PyTorch network (`examples/audit_torch.py`), with 64 shadow models
each.  A browser takes the pictures of the reports' first screens.
"""

import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks.harness import OUT, Command, Layout, Row, finished, machine, where
from benchmarks.peers.peers import timed
from jleaks.errors import InputError
from jleaks.training.execution import Execution

COMMAND = Command(
    "benchmarks.peers.newcomer",
    __doc__,
    ways=where("Which of the ways.", ["flax", "forest", "torch"], kind=list),
    pictures=where("Folder for a picture of each report; without it none are taken."),
    out=OUT,
)
_ROOT = Path(__file__).parents[2]
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_SCREEN = (1200, 900)  # pixels


class Way(NamedTuple):
    """A way to the first report.

    Attributes:
      title: As its table row begins.
      packages: What is installed beside jleaks.
      command: What makes the report, in a folder with the examples and the reader's files.
    """

    title: str
    packages: Sequence[str]
    command: str


WAYS = {
    "flax": Way(
        "records in an npz, a flax network of 12 lines",
        (),
        "jleaks audit --data=records.npz --network=nets.py:Net --epochs=50 --num_shadows=64 "
        "--out_dir=audit",
    ),
    "forest": Way(
        "a scikit-learn forest", ("scikit-learn",), "python examples/audit_forest.py audit"
    ),
    "torch": Way(
        "a PyTorch network",
        ("torch==2.13.0", "scikit-learn"),
        "python examples/audit_torch.py audit",
    ),
}


def _files(folder: Path) -> None:
    """Writes what the reader has: the examples, records and a network."""
    from sklearn.datasets import load_digits

    shutil.copytree(_ROOT / "examples", folder / "examples")
    records, labels = load_digits(return_X_y=True)
    member = np.random.default_rng(0).permutation(len(labels)) < len(labels) // 2
    np.savez(folder / "records.npz", features=records, label=labels, member=member)
    text = (_ROOT / "docs" / "audit.md").read_text()
    found = re.search(r"<!-- file: nets.py -->\n```python\n(.*?)```", text, re.DOTALL)
    assert found
    (folder / "nets.py").write_text(found[1])


def _picture(report: Path, path: Path) -> None:
    """Takes the picture of a report's first screen, in few colours.

    Raises:
      InputError: there is no browser.
    """
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        raise InputError(f"--pictures needs a browser: one of {', '.join(_BROWSERS)}")
    size = ",".join(map(str, _SCREEN))
    words = [browser, "--headless", "--no-sandbox", f"--window-size={size}", "--hide-scrollbars"]
    words += [f"--screenshot={path.resolve()}", report.resolve().as_uri()]
    finished(words)
    Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)


def walked(name: str) -> Row:
    """Goes one way; returns its commands and seconds."""
    way = WAYS[name]
    with tempfile.TemporaryDirectory() as place:
        folder, venv = Path(place, "work"), Path(place, "venv")
        folder.mkdir()
        _files(folder)
        path = f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"
        empty = {"PATH": path, "HOME": place, "LANG": "C.UTF-8"}
        packages = " ".join([shlex.quote(str(_ROOT)), *way.packages])
        install = f"pip install {packages} -c {_ROOT / 'constraints.txt'}"
        steps = {"environment": f"{shlex.quote(sys.executable)} -m venv {venv}"}
        steps |= {"install": install, "audit": way.command}
        row: Row = {"way": name, "title": way.title, "commands": {}}
        for step, command in steps.items():
            _, took = timed(["bash", "-c", command], folder, empty)
            print(f"{name}, {step}: {took['seconds']:.0f} s", flush=True)
            shown = command.replace(str(_ROOT), ".").replace(str(venv), "venv")
            row["commands"][step] = shown.replace(sys.executable, "python3")
            row[step] = {key: round(value, 1) for key, value in took.items()}
        if COMMAND.pictures:
            Path(COMMAND.pictures).mkdir(parents=True, exist_ok=True)
            _picture(folder / "audit" / "report.html", Path(COMMAND.pictures, f"audit_{name}.png"))
    return row


LAYOUT = Layout(
    "From an empty environment to the open report",
    "Seconds of the clock, and in parentheses CPU seconds.",
    [
        ("What is audited", "{title}"),
        ("Installing", "{install[seconds]:.0f} ({install[cpu_seconds]:.0f})"),
        ("Auditing", "{audit[seconds]:.0f} ({audit[cpu_seconds]:.0f})"),
        ("Commands", "`{commands[install]}`; `{commands[audit]}`"),
    ],
)


def main() -> int:
    before = machine()
    names = COMMAND.names("ways", list(WAYS))
    about = COMMAND.about(before, Execution())
    rows = [{"benchmark": "newcomer", **walked(name), **about} for name in names]
    return COMMAND.finish(rows, LAYOUT.table(rows))


if __name__ == "__main__":
    COMMAND.run(main)
