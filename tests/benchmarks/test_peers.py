"""The same audit by other tools: lines, seconds, and the table that the committed rows make."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.pages import filled
from benchmarks.pages.audit import parts
from benchmarks.peers import peers
from benchmarks.peers.newcomer import WAYS
from jleaks import json_lines
from jleaks.errors import InputError

ROOT = Path(__file__).parents[2]


def test_lines_are_what_a_user_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "_HERE", tmp_path)
    text = '"""Doc.\n\nMore.\n"""\n\nimport json\nimport os\n\n# A comment.\nx = (\n    1\n)\n\n'
    text += "# What is compared.\ny = 2\n"
    (tmp_path / "with_tool.py").write_text(text)
    assert peers.num_lines("with_tool.py") == 4


def test_seconds_of_a_process_that_outlives_its_parent_count(tmp_path):
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    orphan = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {burn!r}]); print('out')"
    )
    # One of this process's own children is neither waited for nor counted.
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        printed, took = peers.timed([sys.executable, "-c", orphan], tmp_path)
        assert other.poll() is None
        other.communicate(b"\n")
    assert printed == "out\n"
    assert 0.5 <= took["cpu_seconds"] < 30
    with pytest.raises(InputError, match=r"failed: .*no such thing"):
        peers.timed([sys.executable, "-c", "raise SystemExit('no such thing')"], tmp_path)


def test_jleaks_is_audited_and_its_script_is_short(monkeypatch):
    monkeypatch.setattr(peers.COMMAND, "environments", "nowhere")
    there = [name for name, tool in peers.TOOLS.items() if tool.python().exists()]
    assert there == ["jleaks"]
    assert all(10 < peers.num_lines(tool.script) < 30 for tool in peers.TOOLS.values())


def test_the_page_is_what_the_committed_rows_say():
    newcomers, tools = (
        json_lines.read(ROOT / "results" / f"audit_{name}.jsonl") for name in ("newcomer", "peers")
    )
    assert [row["way"] for row in newcomers] == list(WAYS)
    # Under five minutes from nothing to the open report.
    assert all(row["install"]["seconds"] + row["audit"]["seconds"] < 300 for row in newcomers)
    assert {row["tool"] for row in tools} <= set(peers.TOOLS)
    assert len(tools) > 1
    page = (ROOT / "docs" / "audit.md").read_text()
    audits = json_lines.read(ROOT / "results" / "audit_verdicts.jsonl")
    for marker, text in parts(newcomers, tools, audits).items():
        assert filled(page, marker, text) == page
    # One row for each leak, and for each leak, number and limit: none that a later run replaced.
    shown = [(r["shift"], r.get("limited"), r.get("limit")) for r in audits]
    assert len(set(shown)) == len(shown)
    # Scripts have not grown since they were counted.
    assert {r["tool"]: r["lines"] for r in tools} == {
        r["tool"]: peers.num_lines(peers.TOOLS[r["tool"]].script) for r in tools
    }
    with pytest.raises(InputError, match=r"<!-- newcomer table --> and"):
        filled("no markers", "newcomer table", "")
