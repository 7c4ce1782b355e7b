"""Audits use what files have: labels, several files, one output; against loops in float64."""

import dataclasses
import json
import os

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from jleaks.attacks.registry import ATTACKS
from jleaks.blackbox import files
from jleaks.blackbox.audit import audit
from jleaks.blackbox.box import callable_box, load_callable
from jleaks.blackbox.case import Case
from jleaks.blackbox.labelled import LABELLED
from jleaks.blackbox.posteriors import make_posteriors, make_records
from jleaks.blackbox.remarks import remarks
from jleaks.errors import InputError
from jleaks.metrics.case_metrics import FPRS
from jleaks.report.bank_tables import audit_table
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe

QUICK = Recipe("mlp", (16,), 5, 10, 1e-2, 1e-6)
ONE = Execution(num_devices=1)
NAMES = ["correctness", "confidence", "loss", "modified_entropy", "class_thresholds"]


def forest(rng, n, k, share=0.4, name="forest"):
    """Answers like a forest's: surer of members, and zero where hardly a tree voted."""
    member = rng.permutation(np.arange(n) < share * n)
    label = rng.integers(0, k, n)
    z = rng.normal(size=(n, k)) * 1.5
    z[np.arange(n), label] += np.where(member, 3.5, 1.0)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    p[p < 0.05] = 0
    return make_posteriors(p / p.sum(1, keepdims=True), member, label, name)


def by_hand(answers):
    """Phi and modified entropy in float64 with the formulas as published; infinite with zeros."""
    p, n = answers.posteriors.astype(np.float64), answers.num_records
    true = p[np.arange(n), answers.label]
    rest = np.where(
        true == 1, 0, np.where(np.arange(p.shape[1]) == answers.label[:, None], 0, p).sum(1)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        phi = np.log(true) - np.log(rest)
        # Song & Mittal 2021, equation 6.
        others = p * np.log(1 - p)
        others[np.arange(n), answers.label] = 0
        own = np.where(true == 1, 0, (1 - true) * np.log(true))
    others[p == 0] = 0
    return phi, own + others.sum(1)


def kept(values, *all_values):
    finite = np.concatenate([v[np.isfinite(v)] for v in all_values])
    low, high = min(finite.min(), 0) - np.log(2), max(finite.max(), 0) + np.log(2)
    return np.clip(values, low, high)


def best(scores, member):
    """The highest value that maximises balanced accuracy with the rule score >= value."""
    values = np.unique(scores)[::-1]
    gains = [(scores >= v)[member].mean() - (scores >= v)[~member].mean() for v in values]
    return values[np.argmax(np.array(gains) >= max(gains) - 1e-9)]


def expected(target, shadow):
    """Scores and thresholds by name."""
    both = [by_hand(one) for one in (target, shadow)]
    phi, their_phi = (kept(one[0], *(b[0] for b in both)) for one in both)
    mentr, their_mentr = (kept(one[1], *(b[1] for b in both)) for one in both)
    loss, their_loss = -np.log1p(np.exp(-phi)), -np.log1p(np.exp(-their_phi))
    right = (target.posteriors.argmax(1) == target.label).astype(float)
    per_class = np.array(
        [
            best(their_mentr[shadow.label == k], shadow.member[shadow.label == k])
            for k in range(target.num_classes)
        ]
    )
    return {
        "correctness": (right, 0.5),
        "confidence": (np.exp(loss), best(np.exp(their_loss), shadow.member)),
        "loss": (loss, their_loss[shadow.member].mean()),
        "modified_entropy": (mentr, best(their_mentr, shadow.member)),
        "class_thresholds": (mentr - per_class[target.label], 0.0),
    }


def labelled(rows):
    return {row["attack"]: row for row in rows if row["adversary"] is None}


@pytest.mark.parametrize("seed", range(3))
def test_attacks_on_labels_equal_loops_in_float64(seed):
    rng = np.random.default_rng(seed)
    target, shadow = forest(rng, 300, 4), forest(rng, 420, 4, name="shadow")
    assert list(LABELLED) == NAMES
    rows = labelled(audit([Case("t", target, shadow)], QUICK, execution=ONE))
    wanted = expected(target, shadow)
    assert list(rows) == list(wanted)
    infinite = (~np.isfinite(by_hand(target)[0])).sum()
    assert 0 < infinite < 300
    for name, (scores, threshold) in wanted.items():
        row, called = rows[name], scores >= threshold - 1e-6
        assert row["auc"] == pytest.approx(roc_auc_score(target.member, scores), abs=1e-6), name
        assert row["threshold"] == pytest.approx(threshold, abs=1e-5), name
        assert row["recall"] == pytest.approx(called[target.member].mean(), abs=1e-6), name
        assert row["precision"] == pytest.approx(target.member[called].mean(), abs=1e-6), name
        assert row["accuracy"] == pytest.approx((called == target.member).mean(), abs=1e-6), name
        others = np.sort(scores[~target.member])[::-1]
        for fpr in FPRS:
            allowed = others[int(fpr * len(others))]
            tpr = (scores[target.member] > allowed).mean()
            assert row[f"tpr_at_fpr_{fpr}"] == pytest.approx(tpr, abs=1e-6), name
        assert row["shadow"] == (None if name == "correctness" else "shadow")
        assert not row["constant"]
    assert rows["correctness"]["num_infinite"] == 0
    assert rows["loss"]["num_infinite"] == infinite
    text = " ".join(remarks(Case("t", target, shadow), list(rows.values())))
    assert (
        f"forest: {infinite} of 300 records give their true class or all others a posterior of 0"
        in text
    )


def test_without_a_shadow_only_the_gap_has_a_threshold(rng):
    target = forest(rng, 200, 4)
    rows = labelled(audit([Case("t", target)]))
    assert list(rows) == NAMES[:-1]
    assert rows.pop("correctness")["threshold"] == 0.5
    assert {row["threshold"] for row in rows.values()} == {None}
    assert {row["precision"] for row in rows.values()} == {None}
    assert {row["shadow"] for row in rows.values()} == {None}


def test_a_shadow_gives_what_it_can(rng):
    target, shadow = forest(rng, 200, 4), forest(rng, 200, 4, name="s")
    bare = dataclasses.replace(shadow, label=None)
    other = forest(rng, 200, 3, name="s")
    for case, names, with_threshold, words in [
        (Case("t", target, bare), NAMES[:-1], 1, "s has no labels: attacks on labels take no"),
        (Case("t", target, shadow, "u"), NAMES[:-1], 4, "s has other classes than the target"),
        (Case("t", target, other), NAMES[:-1], 4, "s has other classes than the target"),
        (Case("t", target, shadow), NAMES, 5, "strongest of the 9 attacks"),
    ]:
        rows = audit([case], QUICK, execution=ONE)
        assert list(labelled(rows)) == names
        found = [row for row in labelled(rows).values() if row["threshold"] is not None]
        assert len(found) == with_threshold
        assert any(words in line for line in remarks(case, rows))


def test_the_target_s_membership_gives_no_score_and_no_threshold(rng):
    target, shadow = forest(rng, 200, 4), forest(rng, 200, 4)
    turned = dataclasses.replace(target, member=~target.member)
    both = [labelled(audit([Case("t", t, shadow)], QUICK, execution=ONE)) for t in (target, turned)]
    for name in NAMES:
        ours, theirs = both[0][name], both[1][name]
        assert theirs["threshold"] == ours["threshold"]
        assert theirs["auc"] == pytest.approx(1 - ours["auc"], abs=1e-6)


def labels_only(n=2000, k=10):
    """A model that answers labels alone: right on 99% of its members and on 60% of others."""
    rng = np.random.default_rng(13)
    member, label = np.arange(n) < n // 2, rng.integers(0, k, n)
    right = rng.random(n) < np.where(member, 0.99, 0.60)
    said = np.where(right, label, (label + 1 + rng.integers(0, k - 1, n)) % k)
    return np.eye(k)[said], member, label, right


def test_answers_of_labels_alone():
    p, member, label, right = labels_only()
    target = make_posteriors(p, member, label, "t")
    case = Case("t", target)
    rows = audit([case])
    gap = (right[member].mean() - right[~member].mean()) / 2 + 0.5
    assert gap == pytest.approx(0.6965)
    for row in rows:
        is_constant = row["adversary"] == 3
        assert row["one_hot"]
        assert row["constant"] == is_constant
        assert row["auc"] == pytest.approx(0.5 if is_constant else gap, abs=1e-6)
    assert labelled(rows)["correctness"]["accuracy"] == pytest.approx(gap, abs=1e-6)
    said = remarks(case, rows)
    assert (
        "all posteriors are one-hot, the target answers labels alone: only whether the" in said[0]
    )
    assert "an AUC of 0.5 there is by construction, no evidence of safety" in said[1]
    assert "strongest of the 7 attacks" in said[-1]
    assert "correctness (gap), AUC 0.697" in said[-1]
    assert "a shadow's answers (--shadow" in said[-1]
    text = audit_table(rows, said).to_markdown()
    assert "maximum (constant)" in text
    assert "correctness (gap), Yeom et al. 2018" in text
    assert "no evidence of safety" in text
    # Without labels nothing is found, and that is said.
    case = Case("t", dataclasses.replace(target, label=None))
    rows = audit([case])
    assert all(row["constant"] for row in rows)
    said = remarks(case, rows)
    assert "nothing here tells members from others, whatever the target leaks" in said[0]
    assert "none that tells records apart; stronger attacks need true labels" in said[-1]


def test_statistics_are_constant_whichever_class_is_named(rng):
    """Sums over the same numbers in another order round otherwise."""
    p = rng.permuted(np.tile(rng.dirichlet(np.ones(13)).astype("f4"), (400, 1)), axis=1)
    rows = audit([Case("t", make_posteriors(p, np.arange(400) < 200))])
    assert all(row["constant"] for row in rows)
    assert [row["auc"] for row in rows] == [0.5] * 3


# Files.


@pytest.fixture
def parts(rng):
    """Posteriors, labels of two sides of two models; and each model's in one."""
    found = {}
    for whose in ("target", "shadow"):
        one = forest(rng, 160, 3, name=whose)
        order = np.argsort(~one.member, kind="stable")
        found[whose] = make_posteriors(
            one.posteriors[order], one.member[order], one.label[order], whose
        )
    return found


def save(path, p, **columns):
    if path.suffix == ".npz":
        np.savez(path, posteriors=p, **columns)
    elif columns:
        names = [f"p{k}" for k in range(p.shape[1])] + list(columns)
        cells = [*p.astype(str).T, *(np.asarray(c).astype(str) for c in columns.values())]
        path.write_text("\n".join([",".join(names), *map(",".join, zip(*cells, strict=True))]))
    else:
        np.savetxt(path, p, delimiter=",")
    return path


def test_four_files_equal_two_row_by_row(tmp_path, parts):
    suffixes = iter([".npz", ".csv", ".csv", ".npz"])
    cases = []
    for whose, one in parts.items():
        halves = [
            save(
                tmp_path / f"{whose} {m}{next(suffixes)}",
                one.posteriors[rows],
                label=one.label[rows],
            )
            for m, rows in (("in", one.member), ("out", ~one.member))
        ]
        whole = save(tmp_path / f"{whose}.npz", one.posteriors, member=one.member, label=one.label)
        cases.append((files.read_pair(*halves), files.read(whole)))
    rows = [
        audit([Case("t", target, shadow)], QUICK, execution=ONE)
        for target, shadow in zip(*cases, strict=True)
    ]
    assert len(rows[0]) == len(rows[1]) == 9
    for ours, theirs in zip(*rows, strict=True):
        different = {name for name in ours if ours[name] != theirs[name]}
        assert different <= {"target", "shadow", "seconds"}
    assert rows[0][0]["target"] == f"{tmp_path / 'target in.npz'} and {tmp_path / 'target out.csv'}"


def test_files_of_members_and_others_are_of_one_model(tmp_path, rng):
    p = rng.dirichlet(np.ones(3), 20).astype("f4")
    good = save(tmp_path / "good.npz", p)
    for name, columns, words in [
        ("two.npz", {}, "has 3 posteriors a record, .*two.npz has 2"),
        (
            "in.npz",
            {"member": [1] * 19 + [0]},
            "in.npz: record 0 has member 1, but is among the non-",
        ),
        ("role.npz", {"role": ["target"] * 20}, "role.npz has a column role"),
        ("label.npz", {"label": [3] * 20}, None),
        ("sum.npz", {}, "sum.npz: the posterior of record 0 sums to"),
    ]:
        q = {"two.npz": p[:, :2] / p[:, :2].sum(1, keepdims=True), "sum.npz": p * 1.2}.get(name, p)
        other = save(tmp_path / name, q, **columns)
        if words is None:
            found = files.read_pair(good, other)
            assert found.label is None
            assert (
                "good.npz has no labels, so those of the other file are not used" in found.notes[0]
            )
            with pytest.raises(
                InputError, match=r"record 0 has label 3, expected a whole number in 0\.\.2"
            ):
                files.read_pair(other, save(tmp_path / "l.npz", q, **columns))
            continue
        with pytest.raises(InputError, match=words):
            files.read_pair(good, other)
    with pytest.raises(InputError, match=r"good\.npz is given for members and for non-members"):
        files.read_pair(good, good)


def test_names_of_classes_are_numbered_over_both_files(tmp_path, rng):
    p = rng.dirichlet(np.ones(3), 4)
    a = save(tmp_path / "a.csv", p, label=["bee", "cow", "cow", "bee"])
    b = save(tmp_path / "b.csv", p, label=["cow", "ant", "ant", "bee"])
    found = files.read_pair(a, b)
    assert found.label.tolist() == [1, 2, 2, 1, 2, 0, 0, 1]
    assert "ant = 0, bee = 1, cow = 2" in found.notes[0]
    c = save(tmp_path / "c.csv", p, label=[0, 1, 2, 0])
    with pytest.raises(InputError, match="names in one file and numbers in the other"):
        files.read_pair(a, c)
    # Numbers that no one type holds.
    d, e = (
        save(tmp_path / f"{name}.npz", p, label=np.array([value, 0, 1, 2], dtype))
        for name, value, dtype in (("d", 2**64 - 1, np.uint64), ("e", -1, np.int64))
    )
    with pytest.raises(InputError, match=r"record 0 has label 1844674407370955161\d"):
        files.read_pair(d, e)


def test_a_csv_without_a_header(tmp_path, rng):
    p = rng.dirichlet(np.ones(3), 5)
    path = save(tmp_path / "proba.csv", p)
    np.testing.assert_array_equal(files.read(path, headerless=True).posteriors, p.astype("f4"))
    with pytest.raises(
        InputError, match=r"proba\.csv: line 1 is numbers: no header, .*--target_mem"
    ):
        files.read(path)
    # pandas numbers its columns.
    path.write_text("0,1,2\n" + path.read_text())
    np.testing.assert_array_equal(files.read(path, headerless=True).posteriors, p.astype("f4"))
    path.write_text("0,1\n0.25,0.75\n")
    assert files.read(path, headerless=True).posteriors.tolist() == [[0.25, 0.75]]
    path.write_text("0,1\n1,0\n")
    with pytest.raises(InputError, match="line 1 is 0,1: names or a record"):
        files.read(path, headerless=True)
    path.write_text("0.25\n0.5\n")
    assert files.read(path, headerless=True).posteriors.tolist() == [[0.75, 0.25], [0.5, 0.5]]


@pytest.mark.parametrize("suffix", ["csv", "npz", "parquet"])
def test_one_output_in_files(tmp_path, suffix):
    p, label = np.array([0.25, 0.5, 0.875]), [0.0, 1.0, 1.0]
    path = tmp_path / f"one.{suffix}"
    if suffix == "npz":
        save(path, p[:, None], label=label)
    elif suffix == "csv":
        path.write_text("p1,label\n0.25,0\n0.5,1\n0.875,1\n")
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({"p1": p, "label": label}), path)
    found = files.read(path)
    np.testing.assert_array_equal(found.posteriors, np.stack([1 - p, p], 1))
    assert found.label.tolist() == [0, 1, 1]
    assert "one posterior per record is read as that of class 1" in found.notes[0]


def test_lists_and_nullable_columns_of_parquet(tmp_path):
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "lists.parquet"
    lists = [[0.2, 0.8], [0.5, 0.5], [1.0, 0.0]]
    for kind in (None, pyarrow.list_(pyarrow.float32(), 2), pyarrow.large_list(pyarrow.float64())):
        table = {"posteriors": pyarrow.array(lists, kind), "member": ["True", "False", "1"]}
        pyarrow.parquet.write_table(pyarrow.table(table), path)
        found = files.read(path)
        np.testing.assert_array_equal(found.posteriors, np.array(lists, "f4"))
        assert found.member.tolist() == [True, False, True]
    for column, words in [
        ({"posteriors": [[0.2, 0.8], [1.0], [0, 1]]}, "a list of 1 in row 1, of 2 in row 0"),
        (
            {"posteriors": [[0.2, 0.8], [None, 1.0], [0, 1]]},
            "posteriors has 1 empty cells, the first in row 1",
        ),
        (
            {"posteriors": [[0.2, 0.8], None, [0, 1]]},
            "posteriors has 1 empty cells, the first in row 1",
        ),
        ({"posteriors": [["a", "b"]] * 3}, "posteriors are <U1"),
        ({"member": [1, None, 0]}, "column member has 1 empty cells, the first in row 1"),
        ({"label": [1, None, 0]}, "column label has 1 empty cells, the first in row 1"),
        ({"p0": [1.0, 1.0, 1.0]}, "has columns posteriors and p0, expected one form"),
    ]:
        table = {"posteriors": lists, "member": [1, 1, 0], **column}
        pyarrow.parquet.write_table(pyarrow.table(table), path)
        with pytest.raises(InputError, match=words):
            files.read(path)


def test_what_is_not_used_is_said(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("p0,p1,member,note\n.5,.5,True,x\n.1,.9,False,\n")
    found = files.read(path)
    assert found.member.tolist() == [True, False]
    assert found.notes == (f"{path}: not used: note",)
    save(tmp_path / "t.npz", found.posteriors, meta=np.array("mine"), member=["0", "1"])
    assert files.read(tmp_path / "t.npz").notes == (f"{tmp_path / 't.npz'}: not used: meta",)


# Functions.


def test_functions_that_fail_are_one_line(tmp_path, monkeypatch):
    class Refuses:
        def __array__(self, *_, **__):
            raise RuntimeError("requires grad;\ncall detach()")

    def fails(_):
        raise ZeroDivisionError("division by zero")

    for fn, words in [
        (
            lambda _: Refuses(),
            r"cannot be read as an array \(RuntimeError: requires grad; call detach",
        ),
        (fails, "mine failed on 2 records: ZeroDivisionError: division by zero"),
        (lambda _: np.array([["a"], ["b"]]), "posteriors are <U1, expected numbers"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            callable_box(fn, name="mine").answer(np.zeros((2, 3)))
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="batch is 0, expected at least 1"):
        callable_box(fails, batch=0)
    for i, (text, words) in enumerate(
        [
            ("1 +", "SyntaxError"),
            ("raise OSError('no')", "OSError: no"),
            ("exit(0)", "SystemExit: 0"),
        ]
    ):
        (tmp_path / f"model_that_fails_{i}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(InputError, match=f"cannot import model_that_fails_{i} .*{words}"):
            load_callable(f"model_that_fails_{i}:f")
    with pytest.raises(InputError, match="expected module:function"):
        load_callable(".relative:f")


def test_a_function_with_one_output(rng):
    import ml_dtypes

    box = callable_box(lambda records: records[:, :1], batch=3, name="mine")
    records = rng.random((8, 2))
    found = box.answer(records)
    np.testing.assert_allclose(found[:, 1], records[:, 0], rtol=1e-6)
    assert box.notes == ["mine: one posterior per record is read as that of class 1: (1 - p, p)"]
    half = callable_box(lambda records: records[:, :1].astype(ml_dtypes.bfloat16)).answer(records)
    np.testing.assert_allclose(half, found, atol=2**-8)


def test_labels_of_records_are_checked_before_anything_is_asked():
    records = make_records(np.zeros((3, 2)), [0, 1, 1], [0, 4, 1], "r.npz")
    records.check_classes(5)
    with pytest.raises(InputError, match=r"r\.npz: record 1 has label 4, expected .* 0\.\.3"):
        records.check_classes(4)
    named = make_records(np.zeros((3, 2)), [0, 1, 1], ["b", "a", "b"], "r.npz")
    assert named.label.tolist() == [1, 0, 1]
    named.check_classes(2)
    with pytest.raises(InputError, match="labels are 2 names"):
        named.check_classes(3)


# The launcher.


def test_the_launcher_reads_four_files(tmp_path, launch, parts):
    names = []
    for whose, one in parts.items():
        for m, rows in (("members", one.member), ("nonmembers", ~one.member)):
            path = save(tmp_path / f"{whose}_{m}.csv", one.posteriors[rows])
            names.append(f"--{whose}_{m}={path}")
    done = launch(
        "launch.audit", *names, "--attack_epochs=2", "--num_cpu_devices=1", f"--out_dir={tmp_path}"
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["adversary"] for row in rows] == [1, 3, 3, 3]
    maximum = parts["target"].posteriors.max(1)
    auc = roc_auc_score(parts["target"].member, maximum)
    assert rows[1]["auc"] == pytest.approx(auc, abs=1e-6)
    assert "strongest of the 4 attacks that this allows" in done.stdout
    assert "true labels (label in --target or --records" in done.stdout
    assert "strongest of the 4 attacks" in (tmp_path / "tables.md").read_text()
    page = (tmp_path / "report.html").read_text()
    assert "strongest of the 4 attacks" in page
    best = max(rows, key=lambda row: (row["tpr_at_fpr_0.01"], row["auc"]))
    found = round(best["tpr_at_fpr_0.01"] * best["num_members"])
    assert f"adversary {best['adversary']} ({best['attack']}) recognises {found:,} (" in page
    command = page.split("Command</th><td>")[1].split("</td>")[0]
    assert "launch.audit" in command
    assert f"{tmp_path}" not in command


def test_the_launcher_asks_a_function_and_uses_the_records_labels(tmp_path, launch):
    p, member, label, _ = labels_only(200)
    np.savez(tmp_path / "r.npz", records=p.argmax(1)[:, None], member=member, label=label)
    (tmp_path / "said.py").write_text("import numpy as np\ndef f(r): return np.eye(10)[r[:, 0]]\n")
    done = launch(
        "launch.audit", "--target_callable=said:f", f"--records={tmp_path / 'r.npz'}",
        "--num_cpu_devices=1", f"--out_dir={tmp_path}", env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    right = p.argmax(1) == label
    gap = (right[member].mean() - right[~member].mean()) / 2 + 0.5
    assert labelled(rows)["correctness"]["auc"] == pytest.approx(gap, abs=1e-6)
    assert "one-hot" in done.stdout
    assert files.read(tmp_path / "posteriors.npz").label.tolist() == label.tolist()


def test_the_launcher_refuses_in_one_line(tmp_path, launch):
    target = save(tmp_path / "t.npz", np.eye(4), member=[0, 1, 1, 0])
    for flags, words in [
        ([f"--target_members={target}"], "--target_members is given, but not --target_nonmembers"),
        ([f"--target={target}", f"--shadow_nonmembers={target}"], "but not --shadow_members"),
        ([f"--target={target}", "--batch=3"], "--batch is given, but --target has the answers"),
        (
            [f"--target={target}", f"--target_members={target}", f"--target_nonmembers={target}"],
            "given are --target, --target_members of",
        ),
    ]:
        done = launch("launch.audit", *flags)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        assert words in done.stderr


def test_the_names_of_the_attacks_are_the_registry_s():
    for name in NAMES:
        assert ATTACKS[name].labels
        assert ATTACKS[name].references == "none"
