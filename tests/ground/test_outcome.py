"""A finished run's result is shown again if it is what the run wrote, and refused in one line if not."""

import json

import numpy as np
import pytest

from jleaks import json_lines
from jleaks.errors import InputError
from jleaks.fingerprint import FORMAT
from jleaks.outcome import Outcome

ROWS = [
    {"fingerprint": "plan", "format": FORMAT, "seed": seed, "auc": auc}
    for seed, auc in ((0, 0.625), (1, 0.75), (2, 0.5))
]


@pytest.fixture
def outcome(tmp_path):
    found = Outcome(tmp_path / "rows.jsonl", "plan")
    with found.writing() as path:
        json_lines.write(path, ROWS)
    return found


def refused(outcome, fingerprint="plan"):
    with pytest.raises(InputError) as caught:
        Outcome(outcome.path, fingerprint).finished()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{outcome.path} is not what this plan wrote (")
    assert message.endswith("; delete it to make it again from what is kept")
    return message


def test_what_was_written_is_the_result(outcome, tmp_path):
    assert outcome.finished()
    outcome.check(json_lines.read(outcome.path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["finished.json", "rows.jsonl"]
    assert not Outcome(tmp_path / "other.jsonl", "plan").finished()


def test_every_flipped_bit_of_the_result_or_of_the_note_is_noticed(outcome):
    """Of the note at least where it is still the same object of JSON."""
    rng = np.random.default_rng(0)
    for path in (outcome.path, outcome.path.with_name("finished.json")):
        content = path.read_bytes()
        before = json.loads(content) if path.suffix == ".json" else None
        for _ in range(40):
            flipped = bytearray(content)
            flipped[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
            path.write_bytes(flipped)
            try:
                same = before is not None and json.loads(bytes(flipped)) == before
            except ValueError:
                same = False
            if same:
                assert outcome.finished()
            else:
                refused(outcome)
        path.write_bytes(content)
    assert outcome.finished()


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[1:],
        lambda lines: lines[:-1],
        lambda lines: lines[:0],
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: [lines[0].replace("0.625", "0.626"), *lines[1:]],
        lambda lines: [lines[0].replace('"plan"', '"plam"'), *lines[1:]],
    ],
)
def test_changed_rows_are_refused(outcome, change):
    lines = outcome.path.read_text().splitlines(keepends=True)
    outcome.path.write_text("".join(change(lines)))
    assert "sha256 is" in refused(outcome)


def test_results_of_another_plan_are_refused(outcome):
    assert "fingerprint is other, but plan in finished.json" in refused(outcome, "other")


def test_a_result_that_nobody_vouches_for_is_refused(outcome):
    outcome.path.with_name("finished.json").unlink()
    assert "there is no finished.json" in refused(outcome)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "[" * 100_000, '{"sha256": 1}'])
def test_notes_that_are_none_are_refused(outcome, text):
    outcome.path.with_name("finished.json").write_text(text)
    refused(outcome)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [*ROWS[:2], {**ROWS[2], "fingerprint": "other"}],
            f"what plan other of format {FORMAT} wrote",
        ),
        ([{"fingerprint": "plan"}], "what plan plan of format 1 wrote"),
        ([], "it has no rows"),
    ],
)
def test_every_row_is_this_plan_s(outcome, rows, message):
    with pytest.raises(InputError, match=message):
        outcome.check(rows)


def test_a_run_killed_before_the_result_appears_has_not_finished(tmp_path):
    outcome = Outcome(tmp_path / "rows.jsonl", "plan")
    with pytest.raises(KeyboardInterrupt), outcome.writing():
        raise KeyboardInterrupt
    assert not outcome.finished()
    # Killed between the note and the result: made again.
    with outcome.writing() as path:
        json_lines.write(path, ROWS[:1])
    outcome.path.unlink()
    assert not outcome.finished()
    with outcome.writing() as path:
        json_lines.write(path, ROWS)
    assert outcome.finished()


def test_a_failure_to_write_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    outcome = Outcome(tmp_path / "file" / "rows.jsonl", "plan")
    with pytest.raises(InputError, match="cannot write"), outcome.writing() as path:
        json_lines.write(path, ROWS)
