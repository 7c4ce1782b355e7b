import gzip
import json
import re
import shutil

import pytest
from paper_rows import make_rows, write_arrays

from jleaks.errors import InputError
from jleaks.experiments.claims import EXPERIMENTS
from jleaks.report.page import page
from jleaks.report.report import report_experiment


def write_rows(folder, rows, compress=False):
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if compress:
        (folder / "rows.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    else:
        (folder / "rows.jsonl").write_text(text)


@pytest.fixture
def results(tmp_path):
    """Rows of every experiment; those of E10 compressed."""
    folder = tmp_path / "results" / "paper"
    for name in EXPERIMENTS:
        write_arrays(name, folder / name)
        write_rows(folder / name, make_rows(name, num_seeds=2), compress=name == "E10")
    return folder


def test_every_experiment_has_a_section(results, tmp_path):
    text = page(results, tmp_path / "docs")
    assert text == page(results, tmp_path / "docs")
    heads = re.findall(r"^## (E\d+)\. (.*)$", text, re.MULTILINE)
    assert heads == [(name, experiment.title) for name, experiment in EXPERIMENTS.items()]
    for name, experiment in EXPERIMENTS.items():
        assert experiment.question in text
        assert experiment.claim in text
        assert f"### {name}: " in text
        assert f"python -m launch.paper --experiment={name} --scale=paper\n" in text
    assert "Versions: jax 0.10.2, numpy 2.4.6." in text
    assert (
        "| E7. A target behind a prediction API | paper | 3 | real, stand-in | 2 | 12 "
        "| cpu x86_64 x2 | `0123456789abcdef` |"
    ) in text
    assert "the paper reports" not in text.lower()
    assert "nan" not in text


def test_figures_are_linked_where_they_are(results, tmp_path):
    report_experiment("E6", make_rows("E6", num_seeds=2), results / "E6")
    text = page(results, tmp_path / "docs")
    links = re.findall(r"!\[.*\]\((.*)\)", text)
    assert links == ["../results/paper/E6/figure.png", "../results/paper/E6/figure_cost.png"]
    for link in links:
        assert (tmp_path / "docs" / link).resolve().is_file()


def test_notes_are_taken_over_word_for_word(results, tmp_path):
    notes = "The *stand-in* generalises better;\n\n- hence `0.63`."
    (results / "E8" / "notes.md").write_text(notes + "\n")
    text = page(results, tmp_path / "docs")
    section = text[text.index("## E8.") : text.index("## E9.")]
    assert section.index("**The paper.**") < section.index(notes) < section.index("### E8")


def test_only_what_was_run_is_shown(results, tmp_path):
    for name in EXPERIMENTS:
        if name != "E2":
            shutil.rmtree(results / name)
    text = page(results, tmp_path / "docs")
    assert re.findall(r"^## (E\d+)", text, re.MULTILINE) == ["E2"]


def test_numbers_follow_the_rows(results, tmp_path):
    before = page(results, tmp_path / "docs")
    rows = make_rows("E7", num_seeds=2)
    for row in rows:
        shift = 0.125 if row["variant"]["access"] == "http" else 0.0
        row["auc"] = 0.5 + 0.1 * row["seed"] + shift
    write_rows(results / "E7", rows)
    after = page(results, tmp_path / "docs")
    said = "AUC +0.125±.000 (mean over 3 tasks, ± over tasks)"
    assert said in after
    assert said not in before


def test_what_is_missing_or_garbled_is_one_line(results, tmp_path):
    (results / "E5" / "rows.jsonl").unlink()
    with pytest.raises(InputError, match=r"E5 has no rows.jsonl and no rows.jsonl.gz"):
        page(results, tmp_path)
    for garbled, message in (
        ("{\n", r"E5/rows.jsonl:1: not JSON"),
        ('{"experiment": "E5"}\n', r"E5/rows.jsonl:1: missing field\(s\) task"),
        ("[1, 2]\n", r"E5/rows.jsonl:1: expected an object"),
    ):
        (results / "E5" / "rows.jsonl").write_text(garbled)
        with pytest.raises(InputError, match=message) as caught:
            page(results, tmp_path)
        assert "\n" not in str(caught.value)
    (results / "E10" / "rows.jsonl.gz").write_bytes(b"not gzip")
    write_rows(results / "E5", make_rows("E5"))
    with pytest.raises(InputError, match=r"cannot read .*E10/rows.jsonl.gz"):
        page(results, tmp_path)
    with pytest.raises(InputError, match=r"no results; expected E1/rows.jsonl"):
        page(tmp_path / "nothing", tmp_path)


def test_the_command_writes_the_page_or_says_why_not(results, tmp_path, launch):
    target = tmp_path / "docs" / "paper.md"
    done = launch("benchmarks.pages.paper", f"--results={results}", f"--page={target}")
    assert done.returncode == 0, done.stderr
    assert target.read_text() == page(results, target.parent)
    (results / "E1" / "rows.jsonl").write_text("garbled")
    failed = launch("benchmarks.pages.paper", f"--results={results}", f"--page={target}")
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: ")
    assert failed.stderr.count("\n") == 1
