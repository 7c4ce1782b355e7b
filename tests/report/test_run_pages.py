"""HTML pages of runs: what they say is in their rows, nothing is fetched, what users wrote is escaped."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from paper_rows import make_rows
from run_rows import make_run

from jleaks import json_lines
from jleaks.attacks.registry import ATTACKS
from jleaks.errors import InputError
from jleaks.heartbeat import Heartbeat
from jleaks.report import html
from jleaks.report.run_pages import write_page
from jleaks.report.table import Table
from jleaks.rows import OF_EXPERIMENT, write_rows

COMMITTED = Path(__file__).resolve().parents[2] / "results"
SECTIONS = ("What was not tested", "Method and provenance", "Appendix", "EDPB Opinion 28/2024")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A run of each kind with its page: made-up rows, and a bank's committed ones."""
    root = tmp_path_factory.mktemp("runs")
    write_rows(root / "sweep" / "rows.jsonl", make_run(("location", "news", "purchase100")))
    for name in ("E6", "E13"):
        write_rows(root / "paper" / name / "rows.jsonl", make_rows(name), OF_EXPERIMENT)
    # One that is under way.
    (root / "paper" / "E14").mkdir()
    (root / "paper" / "E6" / "notes.md").write_text(
        "**Why.** So.\n\n| A | B |\n| - | - |\n| 1 | 2 |\n"
    )
    shutil.copytree(COMMITTED / "bank" / "location", root / "bank")
    for folder in root.iterdir():
        assert write_page(folder, "jleaks it --seed=3") == folder / "report.html"
    return root


def text_of(folder):
    return (folder / "report.html").read_text()


@pytest.mark.parametrize(("kind", "pictures"), [("sweep", 5), ("bank", 2), ("paper", 3)])
def test_a_page_is_self_contained_and_has_every_part(folders, kind, pictures):
    text = text_of(folders / kind)
    assert text.startswith("<!DOCTYPE html>")
    assert not re.search(r"https?://|<link|<script src|@import", text)
    assert text.count('<img src="data:image/png;base64,') == pictures == text.count("src=")
    for part in SECTIONS:
        assert part in text
    assert "jax 0." in text
    assert "</table>" in text
    # What rows say themselves is not said again.
    assert text.count("jleaks it --seed=3") == (kind != "paper")


def test_the_lead_of_a_sweep_is_what_its_rows_say(folders):
    rows = json_lines.read(folders / "sweep" / "rows.jsonl")
    means = {}
    for row in rows:
        # Adversary 2 counts by its mean over shadow tasks.
        means.setdefault((row["adversary"], row["task"], row["attack"]), []).append(row["auc"])
    (adversary, task, _), values = max(means.items(), key=lambda item: np.mean(item[1]))
    text = text_of(folders / "sweep")
    lead = re.search(r'<p class="lead">(.*?)</p>', text, re.DOTALL)[1]
    titles = {"location": "Location", "news": "News", "purchase100": "Purchase-100 (stand-in)"}
    assert f"Adversary {adversary} on {titles[task]}" in lead
    assert f"AUC {np.mean(values):.3f}, 95% interval" in lead
    assert "9 target models of 3 tasks attacked by adversary 1, adversary 2 and adversary 3" in lead
    assert "Not the real data sets: Stand-in data" in text
    assert "Purchase-100." in text


def test_the_lead_of_a_bank_is_the_attack_that_is_surest(folders):
    summary = json_lines.read(folders / "bank" / "summary.jsonl")
    best = max(summary, key=lambda row: row["tpr_at_fpr_0.01"]["mean"])
    text = text_of(folders / "bank")
    lead = re.search(r'<p class="lead">(.*?)</p>', text, re.DOTALL)[1]
    assert f"{ATTACKS[best['attack']].title} (IN and OUT references)" in lead
    assert f"recognises {100 * best['tpr_at_fpr_0.01']['mean']:.3g}% of a model" in lead
    audits = json_lines.read(folders / "bank" / "audit.jsonl")
    assert f"<b>{np.median([row['epsilon_one_run'] for row in audits]):.2f}</b>" in text
    assert "NIST SP 800-226" in text


def test_a_bank_without_intervals_of_targets_has_a_page_without_their_table(tmp_path):
    bank = shutil.copytree(COMMITTED / "bank" / "location", tmp_path / "bank")
    path = bank / "audit.jsonl"
    json_lines.write(path, [row | {"auc": None} for row in json_lines.read(path)])
    write_page(bank)
    assert "lower bounds on epsilon" in text_of(bank)
    assert "AUC of single targets" not in text_of(bank)


def test_a_page_of_experiments_has_each_and_its_notes(folders):
    text = text_of(folders / "paper")
    assert '<a href="#E6">E6. The number of shadow models</a>' in text
    assert text.index('id="E6"') < text.index('id="E13"')
    assert "<p>Why. So.</p>" in text
    assert '<td class="number">2</td>' in text
    # One experiment alone has a page, too.
    write_page(folders / "paper" / "E6")
    alone = text_of(folders / "paper" / "E6")
    assert "E6. The number of shadow models" in alone
    assert 'id="E13"' not in alone


def test_a_page_is_made_again_alike(folders, tmp_path):
    copy = shutil.copytree(folders / "sweep", tmp_path / "sweep")
    before = (copy / "report.html").read_bytes()
    # Of the command that the run itself noted.
    Heartbeat(copy, "jleaks it --seed=3 --data_dir=/secret", "jleaks it --seed=3").beat()
    write_page(copy)
    assert (copy / "report.html").read_bytes() == before


def test_what_users_named_is_escaped(tmp_path):
    name = "<script>alert(1)</script>"
    rows = [row | {"task": name} for row in make_run(("location",), adversaries=(1, 3))]
    for row in rows:
        row["shadow_task"] = row["shadow_task"] and name
        row["device"] = '"><img src=x>'
    write_rows(tmp_path / "sweep" / "rows.jsonl", rows)
    bank = shutil.copytree(COMMITTED / "bank" / "location", tmp_path / "bank")
    for file in ("summary", "audit", "comparisons", "cost"):
        path = bank / f"{file}.jsonl"
        json_lines.write(path, [row | {"task": name} for row in json_lines.read(path)])
    for folder, command in ((tmp_path / "sweep", "run <b>it</b>"), (bank, "run <b>it</b>")):
        write_page(folder, command)
        text = text_of(folder)
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)" in text
        assert "run &lt;b&gt;it&lt;/b&gt;" in text
        assert "<img src=x>" not in text


def test_an_attack_of_a_plugin_that_is_not_loaded_is_one_line(tmp_path):
    bank = shutil.copytree(COMMITTED / "bank" / "location", tmp_path / "bank")
    path = bank / "summary.jsonl"
    json_lines.write(path, [row | {"attack": "mine"} for row in json_lines.read(path)])
    with pytest.raises(InputError, match=r"attack 'mine' is not jleaks' own; --plugin=FILE.py"):
        write_page(bank)


def test_rows_that_were_just_written_are_told_where_an_audit_was_saved_before(folders, tmp_path):
    copy = shutil.copytree(folders / "sweep", tmp_path / "sweep")
    (copy / "audit.json").write_text("{}")
    write_page(copy, "jleaks it", ["what rows do not hold"])
    assert "three adversaries" in text_of(copy)


def test_folders_without_a_run_are_one_line(tmp_path):
    with pytest.raises(InputError, match="is no directory"):
        write_page(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"has no results; expected E1/rows.jsonl"):
        write_page(tmp_path)
    (tmp_path / "audit.json").write_text("{}")
    with pytest.raises(InputError, match=r"audit.json is no audit, expected a level"):
        write_page(tmp_path)


def test_the_command_writes_the_page_of_committed_rows(launch, tmp_path):
    run = shutil.copytree(COMMITTED / "paper" / "E6", tmp_path / "E6")
    process = launch("jleaks", "report", run)
    assert process.returncode == 0, process.stderr
    assert process.stdout == f"wrote {run / 'report.html'}\n"
    assert "Fingerprint of the plan" in text_of(run)
    refused = launch("jleaks", "report")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: --run names the folder of a run")


def test_frameworks_name_only_what_a_page_has():
    appendix = html.frameworks({"OWASP AISVS": "here"})
    assert [row[0].text for row in appendix.rows] == ["OWASP AISVS"]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
def test_tables_are_sorted_by_their_numbers_in_a_browser(folders, tmp_path):
    rows = ("a", "1,200±3"), ("b", "-"), ("c", ".5"), ("d", "900†")
    table = Table.of("", "Note.", ("Name", "Count"), 1, rows)
    page = text_of(folders / "sweep")
    template = html.render(
        "run.html",
        heading="", lead="", first=[], cards=[], untested=[], method=[], provenance=[], notes=[],
        frameworks=Table.of("", "", (), 1, ()), sections=[html.Section("T", tables=[table])],
    )  # fmt: skip
    clicks = (
        "const th = document.querySelector('thead th.number');"
        "const rows = () => [...th.closest('table').tBodies[0].rows];"
        "const names = () => rows().map((row) => row.cells[0].textContent).join('');"
        "th.click(); const down = names(); th.click();"
        "document.title = JSON.stringify([down, names(), th.getAttribute('aria-sort')]);"
    )
    found = []
    for name, text in (("page", page), ("table", template)):
        path = tmp_path / f"{name}.html"
        path.write_text(text.replace("</body>", f"<script>{clicks}</script></body>"))
        done = subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", path],
            capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        found.append(json.loads(re.search(r"<title>(.*?)</title>", done.stdout)[1]))
    assert found[1] == ["adcb", "cdab", "ascending"]
    assert found[0][2] == "ascending"
