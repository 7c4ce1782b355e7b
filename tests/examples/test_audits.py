"""The worked examples of audits, as a reader starts them; the forest is README.md's."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

EXAMPLES = ROOT / "examples"


def audited(folder):
    found = json.loads((folder / "audit.json").read_text())
    assert (folder / "report.html").stat().st_size > 50_000
    return found


def run(script, folder):
    return subprocess.run(
        [sys.executable, EXAMPLES / script, folder],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
    )


def test_answers_alone(tmp_path):
    run("audit_answers.py", tmp_path)
    found = audited(tmp_path)
    assert found["num_shadows"] == 16
    assert found["train_accuracy"] > found["test_accuracy"]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="no PyTorch")
def test_a_network_of_pytorch(tmp_path):
    run("audit_torch.py", tmp_path)
    assert audited(tmp_path)["num_shadows"] == 64


def test_the_notebook_runs_from_above(tmp_path, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    book = nbformat.read(EXAMPLES / "audit.ipynb", as_version=4)
    client = nbclient.NotebookClient(book, timeout=600, resources={"metadata": {"path": tmp_path}})
    client.execute()
    assert audited(tmp_path / "audit")["num_shadows"] == 16
    shown = "".join(str(cell.get("outputs", "")) for cell in book.cells)
    assert "Leak:" in shown
