"""The worked examples of audits, as a reader starts them; the forest is README.md's."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.long
def test_answers_alone(tmp_path):
    run("audit_answers.py", tmp_path)
    found = audited(tmp_path)
    assert found["num_shadows"] == 16
    assert found["train_accuracy"] > found["test_accuracy"]


def test_a_model_behind_an_api_with_shadows_trained_here(launch, tmp_path):
    script = EXAMPLES / "serve_digits.py"
    server = subprocess.Popen(
        [sys.executable, script, tmp_path, "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        url = server.stdout.readline().split()[1].replace("//", "//me:PASSW0RD@")
        flags = [
            f"--endpoint={url}", "--protocol=tf_serving", f"--data={tmp_path / 'records.npz'}",
            f"--header_file={tmp_path / 'headers.txt'}", f"--fit={script}:fit",
            f"--predict={script}:predict", "--num_shadows=4", "--attacks=loss,lira_offline",
            "--num_cpu_devices=1",
        ]  # fmt: skip
        for sent in ("1797 records were sent", "0 records were sent"):
            done = launch("launch.audit", *flags, f"--out_dir={tmp_path / 'audit'}", timeout=300)
            assert done.returncode == 0, done.stderr
            assert sent in done.stdout
    finally:
        server.terminate()
        server.wait(30)
        server.stdout.close()
    found = audited(tmp_path / "audit")
    assert found["num_shadows"] == 4
    assert found["train_accuracy"] > found["test_accuracy"] > 0.8
    key = (tmp_path / "headers.txt").read_text().split()[1].encode()
    for path in filter(Path.is_file, (tmp_path / "audit").rglob("*")):
        assert key not in path.read_bytes()
        assert b"PASSW0RD" not in path.read_bytes()
    assert "PASSW0RD" not in done.stdout


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="no PyTorch")
def test_a_network_of_pytorch(tmp_path):
    run("audit_torch.py", tmp_path)
    assert audited(tmp_path)["num_shadows"] == 64


@pytest.mark.long
def test_the_notebook_runs_from_above(tmp_path, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    book = nbformat.read(EXAMPLES / "audit.ipynb", as_version=4)
    client = nbclient.NotebookClient(book, timeout=600, resources={"metadata": {"path": tmp_path}})
    client.execute()
    assert audited(tmp_path / "audit")["num_shadows"] == 16
    shown = "".join(str(cell.get("outputs", "")) for cell in book.cells)
    assert "Leak:" in shown
