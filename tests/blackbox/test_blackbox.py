"""Black boxes without a network: answers, functions and files."""

import jax
import numpy as np
import pytest
from fleets import fleet_spec

from jleaks.attacks import signals
from jleaks.blackbox import files
from jleaks.blackbox.box import LearnerBox, check_answer
from jleaks.blackbox.client import metered
from jleaks.blackbox.pace import Limits
from jleaks.blackbox.posteriors import make_posteriors, make_records
from jleaks.errors import InputError
from jleaks.training.execution import Execution
from jleaks.training.preemption import StopSignal
from jleaks.training.trainer import Trainer

ONE = Execution(num_devices=1)


def drawn(rng, n, k, sharpness=1.0):
    """Posteriors of n records; larger `sharpness` is nearer to one-hot."""
    logits = np.asarray(sharpness, np.float64).reshape(-1, 1) * rng.normal(size=(n, k))
    p = np.exp(logits - logits.max(1, keepdims=True))
    return (p / p.sum(1, keepdims=True)).astype(np.float32)


def leaky(rng, n=200, k=5, share=0.5, name="leaky"):
    """A model that is surer of its members."""
    member = rng.permutation(np.arange(n) < share * n)
    label = rng.integers(0, k, n).astype(np.int32)
    return make_posteriors(drawn(rng, n, k, np.where(member, 4.0, 1.5)), member, label, name)


# Answers.


def test_a_good_answer_is_float32():
    found = check_answer([[0.25, 0.75], [1, 0]], 2, 2, "box")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[0.25, 0.75], [1, 0]])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([[0.5, 0.5]], r"box: posteriors have shape \(1, 2\), expected \[2 records, 2 classes\]"),
        ([0.5, 0.5], r"shape \(2,\)"),
        ([[0.5, 0.25, 0.25]] * 2, r"3 posteriors for each record, expected \[2 records, 2 classes"),
        ([[0.5, 0.5], [1.0]], "unequal lengths"),
        ([["a", "b"]] * 2, "expected numbers"),
        ([[0.5, None]] * 2, "expected numbers"),
        ([[0.5, 0.5], [float("nan"), 0.5]], "record 1 has nan, expected finite"),
        ([[0.5, 0.5], [float("inf"), 0.5]], "record 1 has inf"),
        ([[1.5, -0.5], [0.5, 0.5]], "record 0 has -0.5, expected numbers >= 0"),
        ([[0.5, 0.5], [0.5, 0.5012]], "record 1 sums to 1.0012, expected 1 within 0.001"),
    ],
)
def test_a_bad_answer_names_the_record_and_what_was_got(answer, words):
    with pytest.raises(InputError, match=words):
        check_answer(answer, 2, 2, "box")


def test_a_function_is_asked_in_batches_and_its_answers_are_checked():
    sizes = []

    def fn(records):
        sizes.append(len(records))
        return np.eye(3)[records[:, 0]]

    records = np.arange(7).reshape(7, 1)
    fn_of = np.eye(7)
    three = metered(lambda r: (sizes.append(len(r)), fn_of[r[:, 0]])[1], Limits(batch=3))
    np.testing.assert_array_equal(three.answer(records), fn_of)
    assert sizes == [3, 3, 1]
    # What is known is not asked again.
    np.testing.assert_array_equal(three.answer(records[::-1]), fn_of[::-1])
    assert sizes == [3, 3, 1]
    with pytest.raises(InputError, match="no records"):
        metered(fn).answer(records[:0])
    # The first answer fixes the number of classes; records are numbered through.
    answers = iter([np.eye(2), np.eye(3)[:2]])
    with pytest.raises(InputError, match=r"3 posteriors for each record, expected \[2 records, 2"):
        metered(lambda _: next(answers), Limits(batch=2)).answer(np.arange(4)[:, None])
    answers = iter([np.eye(2), np.full((2, 2), 0.4)])
    box = metered(lambda _: next(answers), Limits(batch=2), name="mine")
    with pytest.raises(InputError, match=r"mine: the posterior of record 2 sums to 0\.8"):
        box.answer(np.arange(4)[:, None])


def test_a_trained_model_answers_as_in_its_fleet():
    c = fleet_spec("mlp", 2)
    trainer = Trainer(c, ONE, lambda _: None, StopSignal())
    state = trainer.initial()
    rows = np.tile(np.arange(70, dtype=np.int32), (2, 1))
    wanted = trainer.query(state, rows, signals.posterior_signals)["posteriors"]
    box = LearnerBox(c.learner, jax.tree.map(lambda leaf: leaf[0], state), block=32)
    np.testing.assert_allclose(box.answer(c.features[:70]), wanted[0], atol=1e-6)
    # Padding changes nothing.
    np.testing.assert_array_equal(box.answer(c.features[:3]), box.answer(c.features[:70])[:3])
    assert box.answer(c.features[:0]).shape == (0, 4)


# Files.


@pytest.mark.parametrize("suffix", ["npz", "csv", "parquet"])
def test_files_give_back_the_same_numbers(tmp_path, rng, suffix):
    answers = leaky(rng, k=12)
    path = files.write(tmp_path / "new" / f"a.{suffix}", answers, "shadow")
    for found in (files.read(path), files.read(path, "shadow")):
        np.testing.assert_array_equal(found.posteriors, answers.posteriors)
        np.testing.assert_array_equal(found.member, answers.member)
        np.testing.assert_array_equal(found.label, answers.label)
        assert found.posteriors.dtype == np.float32
        assert found.member.dtype == bool
    with pytest.raises(InputError, match="no answers of the target"):
        files.read(path, "target")
    bare = files.write(tmp_path / f"bare.{suffix}", make_posteriors(answers.posteriors))
    assert files.read(bare, "target").member is None
    assert files.read(bare).label is None


@pytest.mark.parametrize("suffix", ["npz", "csv", "parquet"])
def test_one_file_for_target_and_shadow(tmp_path, suffix):
    path = tmp_path / f"both.{suffix}"
    p = np.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    role = np.array(["target", "shadow", "target"])
    if suffix == "npz":
        np.savez(path, posteriors=p, role=role, member=[1, 1, 0])
    elif suffix == "csv":
        lines = [
            "role,p1,p0,member,note",
            "target,.9,.1,1,x",
            "shadow,.8,.2,1,",
            "target,.7,.3,0,z",
        ]
        path.write_text("\n".join(lines) + "\n\n")
    else:
        import pyarrow
        import pyarrow.parquet

        columns = {"p0": p[:, 0], "p1": p[:, 1], "role": role, "member": [True, True, False]}
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    found = files.read(path, "target")
    np.testing.assert_array_equal(found.posteriors, p[[0, 2]].astype(np.float32))
    np.testing.assert_array_equal(found.member, [True, False])
    assert len(files.read(path, "shadow").posteriors) == 1
    with pytest.raises(InputError, match="answers of shadow and target: say whose"):
        files.read(path)


GOOD = {"posteriors": [[0.5, 0.5], [0.1, 0.9]], "member": [0, 1], "label": [0, 1]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"posteriors": None}, "no array posteriors"),
        ({"posteriors": [0.5, 0.5]}, "expected"),
        ({"posteriors": 0.5}, "expected"),
        ({"posteriors": [[1.0], [1.0]]}, "one posterior for each record, and all are 1"),
        ({"posteriors": [[1.2], [0.3]]}, "record 0 has 1.2, expected 0..1 where there is one"),
        ({"posteriors": [["a", "b"]] * 2}, "posteriors are <U1, expected numbers"),
        ({"posteriors": np.eye(2) * 1j}, "posteriors are complex128, expected numbers"),
        ({"posteriors": np.eye(2) == 1}, "posteriors are bool, expected numbers"),
        ({"posteriors": [[0.5, 0.6], [0.1, 0.9]]}, "record 0 sums to 1.1"),
        ({"posteriors": np.zeros((0, 2))}, "there are no records"),
        ({"member": [0, 1, 1]}, r"member has shape \(3,\), expected \(2,\)"),
        ({"member": [0, 2]}, "record 1 has member 2, expected 0 or 1"),
        ({"member": ["no", "yes"]}, "record 0 has member no"),
        ({"member": [0, float("nan")]}, "record 1 has member nan"),
        ({"label": [0.0, 0.5]}, r"record 1 has label 0\.5, expected a whole number in 0\.\.1"),
        ({"label": [0.0, float("nan")]}, "record 1 has no label"),
        ({"label": [0, 2]}, r"record 1 has label 2, expected a whole number in 0\.\.1"),
        ({"label": [0, 2**32 + 1]}, "record 1 has label 4294967297, expected"),
        ({"label": np.array([0, 2**63], np.uint64)}, "record 1 has label 9223372036854775808"),
        ({"label": [0, -(2**32)]}, "record 1 has label -4294967296"),
        ({"label": [0.0, 4294967297.0]}, "record 1 has label 4294967297"),
        ({"label": ["cat", "cat"]}, "labels are 1 names .* for 2 classes"),
        ({"label": ["cat", ""]}, "record 1 has no label"),
        ({"label": np.array([0, 1], "m8[s]")}, "labels are timedelta64"),
        ({"label": [-1, 1]}, "record 0 has label -1"),
        ({"role": ["target", "mine"]}, "record 1 has role mine, expected target or shadow"),
        ({"role": ["target"]}, "role has shape"),
    ],
)
def test_bad_npz(tmp_path, changes, words):
    arrays = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError, match=words) as caught:
        files.read(tmp_path / "bad.npz")
    assert "bad.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has columns of no name"),
        ("p0,p1\n", "there are no records"),
        ("p0,p2\n.5,.5\n", "expected p0, p1, ... without a gap"),
        ("p0\n1\n", "without a gap"),
        ("p0,p1,p1\n.5,.5,.5\n", "a column twice"),
        ("p0,p1\n.5\n", r"bad.csv:2 has 1 cells, expected 2"),
        ("p0,p1\n.5,.5\n.5,half\n", r"bad.csv:3: p1 is 'half', expected a number"),
        ("p0,p1,member\n.5,.5,yes\n", "record 0 has member yes, expected 0 or 1"),
        ("p0,p1,member\n.5,.5,1\n.5,.5,\n", "record 1 has no member"),
        ("p0,p1,label\n.5,.5,.5\n", r"record 0 has label 0\.5, expected a whole number"),
        (".5,.5\n.2,.8\n", "line 1 is numbers: no header"),
        ("p0,p²\n.5,.5\n", "without a gap"),
        ("p0,p" + "1" * 5000 + "\n.5,.5\n", "without a gap"),
        ("p0,p1\n.5,.6\n", "record 0 sums to 1.1"),
        ("p0,p1\n.5,nan\n", "record 0 has nan"),
    ],
)
def test_bad_csv(tmp_path, text, words):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        files.read(path)


def test_bad_files(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        files.read(tmp_path / "none.npz")
    with pytest.raises(InputError, match=r"none of \.npz, \.csv, \.parquet"):
        files.read(tmp_path / "a.json")
    with pytest.raises(InputError, match=r"none of \.npz"):
        files.write(tmp_path / "a.json", make_posteriors(np.eye(2)))
    for name, words in [
        ("a.npz", "damaged"),
        ("a.parquet", "not a parquet"),
        ("a.csv", "not a csv"),
    ]:
        (tmp_path / name).write_bytes(b"\xff\x00 neither this nor that")
        with pytest.raises(InputError, match=words):
            files.read(tmp_path / name)
    np.savez(tmp_path / "p.npz", posteriors=np.array([{}], object), allow_pickle=True)
    with pytest.raises(
        InputError, match=r"posteriors is an array of Python objects .* never loaded"
    ):
        files.read(tmp_path / "p.npz")
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"p0": [0.5, None], "p1": [0.5, 0.5]})
    pyarrow.parquet.write_table(table, tmp_path / "b.parquet")
    with pytest.raises(InputError, match="column p0 has 1 empty cells, the first in row 1"):
        files.read(tmp_path / "b.parquet")


def test_records_on_disk(tmp_path, rng):
    records = make_records(rng.integers(0, 256, (6, 4, 4, 3)).astype(np.uint8), np.arange(6) < 3)
    found = files.read_records(files.write_records(tmp_path / "r.npz", records))
    np.testing.assert_array_equal(found.records, records.records)
    assert found.records.dtype == np.uint8
    np.testing.assert_array_equal(found.member, records.member)
    assert found.label is None
    np.savez(tmp_path / "bad.npz", records=records.records)
    with pytest.raises(InputError, match="no array member"):
        files.read_records(tmp_path / "bad.npz")
    with pytest.raises(InputError, match="expected numbers"):
        make_records(np.array(["a"]), np.array([1]))
    with pytest.raises(InputError, match="member does not have both 0 and 1"):
        make_records(np.eye(2), np.array([1, 1]))
    with pytest.raises(InputError, match=r"is not \.npz"):
        files.write_records(tmp_path / "r.csv", records)
