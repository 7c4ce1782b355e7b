"""Every command and every piece of Python that the documents print, run as printed.

A block that the suite cannot run says so in the document, and here; a new block is run.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import NamedTuple

import forkserver
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from raw_files import write_all
from sklearn.datasets import load_breast_cancer, load_digits

DOCUMENTS = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
# Ten audits, of forests, networks and endpoints.
LONG = ("docs/audit.md",)
# The only blocks that are marked as not run, by how they begin.
NOT_RUN = {
    "README.md": [
        "python -m launch.prepare --tasks=all --data_dir=data\n",
        "python -m launch.paper --experiment=all --scale=smoke",
        'pip install -e ".[peers]" -c constraints.txt\npython -m benchmarks.speed',
    ],
    "docs/accelerators.md": [
        'pip install "jleaks[cuda12]"',
        'pip install "jleaks[tpu]"',
        "# 0-3 minutes",
        "python -m benchmarks.accelerator.compiled",
    ],
    "docs/attacks.md": ["python -m launch.bank"],
    "docs/audit.md": ["python examples/audit_forest.py", "python examples/audit_torch.py"],
    "docs/clusters.md": [
        'jleaks cells --root=checkpoints/grid --grid="epochs=10,50',
        'pip install "jleaks[ray]"',
        "for i in 0 1 2 3; do",
        "kubectl apply",
        "jleaks cells --root=checkpoints/grid | xargs",
        "srun -n 4 --gpus-per-task=1 jleaks sweep",
        "python -m benchmarks.checks.clusters",
    ],
    "docs/defences.md": [
        "jleaks sweep --tasks=location --defence=dpsgd",
        "python -m benchmarks.checks.white_box",
        "python -m launch.paper --plugin=examples/memguard_thresholds.py",
    ],
    "docs/paper.md": ["python -m launch.paper --scale=paper"],
    "docs/records.md": [
        "python -m benchmarks.checks.pool_bias",
        "python -m benchmarks.scaling.bank_memory",
    ],
    "docs/reliability.md": ["python -m benchmarks.checks.soak --minutes=20"],
    "docs/scale.md": ["python -m benchmarks.scaling.scale", "python -m benchmarks.checks.cells"],
    "docs/watching.md": ['pip install -e ".[tensorboard]"'],
}
# What a reader does once, and the suite's machine has done: an environment, and the suite itself.
DONE_BEFORE = re.compile(r"(make|pip install) ")
# What `make run` leaves behind, of one task and small.
MAKE_RUN = (
    "jleaks sweep --tasks=location --num_seeds=1 --scale=0.01 --epochs=2 --attack_epochs=1 "
    "--workdir=checkpoints/default"
)
# A gate's exit status is its answer.
STATUSES = {"jleaks gate": (0, 1, 3)}
# Names that stand for a reader's own, by document.
OWN = """
import jleaks
import numpy as np
from sklearn.datasets import load_digits

from nets import Net
from train import fit, predict

records, labels = load_digits(return_X_y=True)
records, labels = records[:400], labels[:400]
trained_on = np.arange(400) % 2 == 0
"""
OWN_OF = {
    "README.md": """
rng = np.random.default_rng(0)
member = rng.random((16, 400)) < 0.5
logits = rng.normal(size=(16, 400, 10)) + (2 + member[..., None]) * np.eye(10)[labels]
""",
    "docs/audit.md": """
member = trained_on
others, their_labels = load_digits(return_X_y=True)
others, their_labels = others[400:800], their_labels[400:800]
posteriors = np.load("answers.npz")["posteriors"]
shadows = [np.load(f"shadow{i}.npz") for i in range(4)]
shadow_answers = [(shadow["posteriors"], shadow["member"]) for shadow in shadows]
""",
}


class Block(NamedTuple):
    """A fenced block: its line and language, the text, and the comment above it."""

    line: int
    language: str
    text: str
    comment: str


def blocks(text):
    """Returns the fenced blocks of a document."""
    found = re.finditer(
        r"(?:<!-- (?P<comment>[^\n]*?) -->\n\n?)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
        text,
        re.DOTALL | re.MULTILINE,
    )
    return [
        Block(
            text[: one.start("text")].count("\n") + 1,
            one["language"] or "bash",
            one["text"],
            one["comment"] or "",
        )
        for one in found
    ]


def commands(text):
    """Returns a block's commands, lines that go on joined."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def test_blocks_are_found_with_their_comments():
    text = "a\n\n<!-- not run: why -->\n```\nmake\n```\n\n<!-- b -->\n\nc\n\n```python\nx = '```'\n```\n"
    assert blocks(text) == [
        Block(5, "bash", "make\n", "not run: why"),
        Block(13, "python", "x = '```'\n", ""),
    ]
    assert commands("# a\nb \\\n  c\n\nd  # e\n") == ["b    c", "d  # e"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_not_run_is_known(document):
    marked = [b for b in blocks((ROOT / document).read_text()) if b.comment.startswith("not run")]
    assert all(re.fullmatch(r"not run: .{10,}", block.comment) for block in marked)
    known = NOT_RUN.get(document, [])
    assert len(marked) == len(known)
    for block, begins in zip(marked, known, strict=True):
        assert re.sub(r" +#[^\n]*", "", block.text).startswith(begins)


class Clone:
    """A fresh copy of the repository, with the files of a reader's own that documents name."""

    def __init__(self, folder):
        self.folder = folder / "clone"
        shutil.copytree(
            ROOT, self.folder, ignore=shutil.ignore_patterns(".*", "tests", "checkpoints", "site")
        )
        programs = folder / "bin"
        programs.mkdir()
        # Most of their time would be imports: they are forked from a process that has all.
        self.launcher = forkserver.Server(self.folder)
        ask = [sys.executable, "-S", "-E", forkserver.__file__, "ask", self.launcher.address]
        for name, words in {"python": "", "jleaks": "-m jleaks "}.items():
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec {shlex.join(ask)} {words}"$@"\n')
            program.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder),
        }
        self.servers = []

    def _ran(self, words, expected=(0,)):
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True,
            timeout=600, check=False,
        )  # fmt: skip
        # Warnings come first; the error is last, but for the modules that a crash lists.
        said = re.sub(r"Extension modules: .*", "", done.stdout + done.stderr)
        return "" if done.returncode in expected else f"status {done.returncode}: {said[-6000:]}"

    def _serve(self, command):
        port = int(re.search(r"(?:--port=| )(\d{4,})\b", command)[1])
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)), f"port {port} is taken"
        self.servers.append(
            subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        until = time.monotonic() + 120
        while time.monotonic() < until and self.servers[-1].poll() is None:
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    return ""
            time.sleep(0.2)
        return "the server does not answer"

    def run(self, command):
        """Runs a command; returns what went wrong, if anything."""
        if DONE_BEFORE.match(command):
            return ""
        if command.rstrip().endswith("&"):
            return self._serve(command.rstrip()[:-1])
        expected = next((s for start, s in STATUSES.items() if command.startswith(start)), (0,))
        return self._ran(["bash", "-c", command], expected)

    def run_python(self, text, own):
        """Runs a block of Python in a process of its own, a reader's names at hand."""
        (self.folder / "own.py").write_text(own)
        # A block that is whole by itself does without.
        start = "" if "__main__" in text else "from own import *\n"
        (self.folder / "block.py").write_text(start + text)
        return self._ran(["python", "block.py"])

    def run_document(self, name):
        """Runs all blocks of a document in order, told with their seconds; returns what went wrong."""
        wrong, own = [], OWN + OWN_OF.get(name, "")
        for block in blocks((ROOT / name).read_text()):
            if block.comment.startswith("not run"):
                continue
            if block.comment.startswith("file: "):
                continue
            assert block.language in ("bash", "python"), f"{name}:{block.line}: {block.language}"
            whole = block.language == "python"
            for command in [block.text] if whole else commands(block.text):
                began = time.monotonic()
                error = self.run_python(command, own) if whole else self.run(command)
                print(
                    f"{time.monotonic() - began:5.1f} s  {name}:{block.line}  {command}", flush=True
                )
                if error:
                    wrong.append(f"{name}:{block.line}: {command}\n{error}")
        return wrong

    def close(self):
        """Ends the servers."""
        for server in self.servers:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
        self.launcher.close()


def own_files(folder):
    """Writes the files that documents print, and those that stand for a reader's own."""
    for document in DOCUMENTS:
        for block in blocks((ROOT / document).read_text()):
            if block.comment.startswith("file: "):
                (folder / block.comment.removeprefix("file: ")).write_text(block.text)
    rng = np.random.default_rng(0)
    write_all(folder / "DIR", rng)
    x, y = load_breast_cancer(return_X_y=True)
    np.savez(folder / "cancer.npz", features=x[:240], label=y[:240])
    frame = pd.DataFrame(x[:240, :5], columns=list("abcde"))
    frame.assign(left=y[:240]).to_parquet(folder / "churn.parquet")
    more, kinds = load_digits(return_X_y=True)
    digits, classes = more[:400], kinds[:400]
    member = np.arange(400) % 2 == 0
    np.savez(folder / "records.npz", features=digits, label=classes, member=member)
    table = pd.DataFrame(more[400:800, :20]).add_prefix("pixel_")
    table.assign(
        sex=rng.integers(0, 2, 400), region=rng.integers(0, 3, 400), target=kinds[400:800]
    ).to_csv(folder / "others.csv", index=False)
    table = pd.DataFrame(digits[:, :20]).add_prefix("pixel_")
    table.assign(
        sex=rng.integers(0, 2, 400),
        region=rng.integers(0, 3, 400),
        target=classes,
        trained_on=member,
    ).to_csv(folder / "records.csv", index=False)
    for name in ("answers", *(f"shadow{i}" for i in range(4))):
        trained = member if name == "answers" else rng.permutation(member)
        sure = np.where(trained, 3.0, 2.0)[:, None] * np.eye(10)[classes]
        odds = np.exp(rng.normal(size=(400, 10)) + sure)
        posteriors = odds / odds.sum(1, keepdims=True)
        np.savez(folder / f"{name}.npz", posteriors=posteriors, member=trained, label=classes)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    made = Clone(tmp_path_factory.mktemp("documents"))
    own_files(made.folder)
    assert not made.run(MAKE_RUN)
    yield made
    made.close()


@pytest.mark.parametrize(
    "document",
    [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in DOCUMENTS],
)
def test_every_block_runs_as_printed(clone, document):
    wrong = clone.run_document(document)
    assert not wrong, "\n\n".join(wrong)
    if document == "README.md":
        found = json.loads((clone.folder / "audit" / "audit.json").read_text())
        assert found["num_shadows"] == 64
        # LiRA with 64 forests, written by hand, finds .6 and more of the members at 1% FPR.
        assert found["thresholds"]["0.01"]["tpr"]["low"] > 0.55
        assert found["epsilon"]["one run"] > 2.5
        assert found["level"] in ("clear", "severe")
