"""Black boxes without a network: answers, files, and the audit against independent computations."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fleets import fleet_spec
from sklearn.metrics import roc_auc_score

from jleaks.attacks import signals
from jleaks.blackbox import files
from jleaks.blackbox.audit import audit
from jleaks.blackbox.box import LearnerBox, callable_box, check_answer, load_callable
from jleaks.blackbox.case import Case, statistics, top_posteriors
from jleaks.blackbox.posteriors import make_posteriors, make_records
from jleaks.errors import InputError
from jleaks.metrics.case_metrics import FPRS
from jleaks.report.bank_tables import audit_table
from jleaks.training.execution import Execution
from jleaks.training.preemption import StopSignal
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import Reporter
from jleaks.training.trainer import Trainer

QUICK = Recipe("mlp", (16,), 5, 10, 1e-2, 1e-6)
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
        ([[0.5, 0.5], [float("nan"), 0.5]], "record 18 has nan, expected finite"),
        ([[0.5, 0.5], [float("inf"), 0.5]], "record 18 has inf"),
        ([[1.5, -0.5], [0.5, 0.5]], "record 17 has -0.5, expected numbers >= 0"),
        ([[0.5, 0.5], [0.5, 0.5012]], "record 18 sums to 1.0012, expected 1 within 0.001"),
    ],
)
def test_a_bad_answer_names_the_record_and_what_was_got(answer, words):
    with pytest.raises(InputError, match=words):
        check_answer(answer, 2, 2, "box", [17, 18])


def test_a_callable_is_asked_in_batches_and_its_answers_are_checked():
    sizes = []

    def fn(records):
        sizes.append(len(records))
        return np.eye(3)[records[:, 0]]

    records = np.arange(7).reshape(7, 1) % 3
    found = callable_box(fn, 3, batch=3).answer(records)
    np.testing.assert_array_equal(found, np.eye(3)[records[:, 0]])
    assert sizes == [3, 3, 1]
    with pytest.raises(InputError, match="no records"):
        callable_box(fn, 3).answer(records[:0])
    # The first answer fixes the number of classes; records are numbered through.
    answers = iter([np.eye(2), np.eye(3)[:2]])
    with pytest.raises(InputError, match=r"3 posteriors for each record, expected \[2 records, 2"):
        callable_box(lambda _: next(answers), batch=2).answer(np.zeros((4, 1)))
    answers = iter([np.eye(2), np.full((2, 2), 0.4)])
    with pytest.raises(InputError, match=r"mine: the posterior of record 2 sums to 0\.8"):
        callable_box(lambda _: next(answers), batch=2, name="mine").answer(np.zeros((4, 1)))


def test_callables_by_path():
    assert load_callable("numpy:linalg.norm") is np.linalg.norm
    for path, words in [
        ("numpy", "expected module:function"),
        ("no_such_module:f", "cannot import no_such_module"),
        ("numpy:no_such", "numpy has no no_such"),
        ("numpy:pi", "is a float, expected a function"),
    ]:
        with pytest.raises(InputError, match=words):
            load_callable(path)


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


# What adversaries look at.


def test_features_and_statistics_equal_those_of_logits(rng):
    p = drawn(rng, 50, 7, 3.0)
    for top in (3, 9):
        wanted = signals.top_posteriors(jnp.log(p), top)
        np.testing.assert_allclose(top_posteriors(p, top), wanted, atol=1e-6)
    wanted = signals.confidence_statistics(jnp.log(p))
    np.testing.assert_allclose(statistics(p), wanted, atol=1e-6)
    # Certainty: entropy 0; of two classes the standard deviation is one half.
    np.testing.assert_allclose(statistics(np.float32([[1, 0]])), [[1, 0.5, 0]])


# The audit.


def test_adversary_3_equals_a_computation_by_hand(rng):
    target = leaky(rng, n=301, share=0.3)
    random = make_posteriors(drawn(rng, 100, 5))
    rows = audit([Case("mine", target, random=random)], percentile=20.0)
    rows, others = rows[:3], rows[3:]
    assert [row["attack"] for row in rows] == list(signals.STATISTICS)
    assert {row["adversary"] for row in others} == {None}
    p, q = target.posteriors.astype(float), random.posteriors.astype(float)
    scores = [p.max(1), p.std(1), (p * np.log(p)).sum(1)]
    at_random = [q.max(1), q.std(1), (q * np.log(q)).sum(1)]
    for row, score, points in zip(rows, scores, at_random, strict=True):
        threshold = np.percentile(points, 80)
        called = score >= threshold
        assert row["adversary"] == 3
        assert row["threshold"] == pytest.approx(threshold, rel=1e-5)
        assert row["auc"] == pytest.approx(roc_auc_score(target.member, score), abs=1e-6)
        assert row["precision"] == pytest.approx(target.member[called].mean(), abs=1e-6)
        assert row["recall"] == pytest.approx(called[target.member].mean(), abs=1e-6)
        assert row["accuracy"] == pytest.approx((called == target.member).mean(), abs=1e-6)
        others = np.sort(score[~target.member])[::-1]
        for fpr in FPRS:
            allowed = others[int(fpr * len(others))]
            tpr = (score[target.member] > allowed).mean()
            assert row[f"tpr_at_fpr_{fpr}"] == pytest.approx(tpr, abs=1e-6)
            assert row[f"tpr_low_{fpr}"] <= tpr <= row[f"tpr_high_{fpr}"]
            assert row[f"fpr_realised_{fpr}"] <= fpr
    right = target.posteriors.argmax(1) == target.label
    assert rows[0]["train_accuracy"] == right[target.member].mean()
    assert (rows[0]["num_members"], rows[0]["num_nonmembers"]) == (91, 210)
    assert rows[0]["num_random_points"] == 100


def test_without_random_points_there_is_no_threshold(rng):
    (row, *_) = audit([Case("mine", make_posteriors(drawn(rng, 40, 3), np.arange(40) < 20))])
    assert row["threshold"] is row["precision"] is row["recall"] is row["accuracy"] is None
    assert row["train_accuracy"] is None
    assert row["auc"] is not None
    assert "-" in audit_table([row]).to_markdown()


def test_adversary_1_finds_members_of_a_leaky_target_and_nobody_in_noise(rng):
    shadow, target = leaky(rng, 300), leaky(rng, 300)
    (row, *_) = audit([Case("mine", target, shadow)], QUICK, execution=ONE)
    assert (row["adversary"], row["attack"], row["threshold"]) == (1, "attack model", 0.5)
    assert row["auc"] > 0.8
    assert row["accuracy"] > 0.7
    assert row["num_posteriors"] == 3
    noise = dataclasses.replace(target, member=rng.permutation(target.member))
    (row, *_) = audit([Case("mine", noise, shadow)], QUICK, execution=ONE)
    assert abs(row["auc"] - 0.5) < 4 * np.sqrt(301 / (12 * 150 * 150))


def test_an_audit_is_decided_at_the_shadow_s_cut_too_and_tells_of_collapse(rng):
    shadow, target = leaky(rng, 300), leaky(rng, 200)
    lines = []
    reporter = Reporter(line=lines.append)
    (row, *others) = audit([Case("mine", target, shadow)], QUICK, execution=ONE, reporter=reporter)
    assert row["collapsed"] is False
    assert 0.7 < row["accuracy_shadow_cut"] <= 1
    assert {r["collapsed"] for r in others} == {None}
    assert {r["recall_shadow_cut"] for r in others} == {None}
    assert lines == []
    assert "collapsed" not in audit_table([row, *others]).caption
    # Every answer is the same: whatever is learned calls all of them or none a member.
    dull = dataclasses.replace(shadow, posteriors=np.full_like(shadow.posteriors, 0.2))
    (row, *others) = audit([Case("mine", target, dull)], QUICK, execution=ONE, reporter=reporter)
    assert row["collapsed"] is True
    (line,) = lines
    assert line.startswith("1 of 1 attack models collapsed")
    rows = [row, *others]
    said = f"1 of {len(rows)} attacks are by an attack model that"
    assert said in audit_table(rows).caption


def test_a_targets_membership_reaches_the_metrics_and_nothing_else(rng):
    """Told the opposite truth, the same attack ranks the other way round."""
    shadow, target = leaky(rng, 300), leaky(rng, 300)
    rows = audit([Case("mine", target, shadow)], QUICK, execution=ONE)
    other = dataclasses.replace(target, member=~target.member)
    turned = audit([Case("mine", other, shadow)], QUICK, execution=ONE)
    for ours, theirs in zip(rows, turned, strict=True):
        assert theirs["auc"] == pytest.approx(1 - ours["auc"], abs=1e-6)
        assert theirs["threshold"] == ours["threshold"]


def test_a_case_among_many_equals_itself_alone_and_shares_what_it_can(rng):
    shadows = [leaky(rng, 120, 5, name="a"), leaky(rng, 200, 2, 0.3, name="b")]
    targets = [leaky(rng, 90, 4), leaky(rng, 140, 2)]
    random = make_posteriors(drawn(rng, 20, 4))
    cases = [
        Case("x", targets[0], shadows[0]),
        Case("x", targets[0], shadows[1], "y", random=random),
        Case("y", targets[1], shadows[1], about={"source": "synthetic"}),
        Case("y", targets[1], shadows[0], "x", seed=3),
    ]
    totals = []
    reporter = Reporter(progress=lambda p: totals.append(p.total))
    execution = Execution(num_devices=1, models_per_vmap=1)
    rows = audit(cases, QUICK, execution=execution, reporter=reporter)
    # Shadow a, top 3; b, top 2, for both targets; a, top 2.
    assert set(totals) == {3 * QUICK.epochs}
    # Thresholds per class only from a shadow of the same task and classes.
    assert [r["adversary"] for r in rows] == [1, 2, 1, 2, *[3] * 6, *[None] * (4 + 4 + 5 + 4)]
    assert [r["num_posteriors"] for r in rows[:4]] == [3, 2, 2, 2]
    assert [r["num_random_points"] for r in rows[4:10]] == [20] * 3 + [0] * 3
    assert [r.get("source") for r in rows[:4]] == [None, None, "synthetic", None]
    # In the fleet its rows are padded, and its target's too.
    alone = audit(cases[:1], QUICK, execution=execution)[0]
    for name in ("auc", "precision", "recall", "tpr_at_fpr_0.01"):
        assert rows[0][name] == pytest.approx(alone[name], abs=1e-6), name
    assert len({r["fingerprint"] for r in rows}) == 1
    assert rows[0]["versions"]["jax"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"member": None}, "t has no member, from which attacks are scored"),
        ({"member": np.ones(60, bool)}, "t has no non-members"),
        ({"member": np.zeros(60, bool)}, "t has no members"),
    ],
)
def test_targets_that_cannot_be_scored(rng, change, words):
    target = leaky(rng, 60, name="t")
    with pytest.raises(InputError, match=words):
        audit([Case("x", dataclasses.replace(target, **change))])


def test_cases_that_cannot_be_attacked(rng):
    target = leaky(rng, 60, name="t")
    unknown = make_posteriors(target.posteriors, name="s")
    for case, words in [
        (Case("x", target, unknown), "s has no member, from which an attack model learns"),
        (Case("x", target, leaky(rng, 8, name="s")), "batch_size is 10 but it has only 8 rows"),
        (
            Case("x", target, random=make_posteriors(np.eye(20))),
            "has 20 posteriors for each random",
        ),
        (
            Case("x", target, random=make_posteriors(np.eye(5))),
            "has 5 random points, expected at least",
        ),
    ]:
        with pytest.raises(InputError, match=words):
            audit([case])
    with pytest.raises(InputError, match=r"top is 0.*percentile is 100"):
        audit([Case("x", target)], top=0, percentile=100.0)
