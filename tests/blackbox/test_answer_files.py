"""Files of several forms, functions that fail, and the launcher that reads and asks them."""

import json
import os

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from jleaks.auditing.adversaries import Attacker, attack_answers
from jleaks.blackbox import files
from jleaks.blackbox.client import metered
from jleaks.blackbox.pace import Limits
from jleaks.blackbox.posteriors import make_posteriors, make_records
from jleaks.errors import InputError
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe

QUICK = Recipe("mlp", (16,), 5, 10, 1e-2, 1e-6)


def forest(rng, n, k, share=0.4, name="forest"):
    """Answers like a forest's: surer of members, and zero where hardly a tree voted."""
    member = rng.permutation(np.arange(n) < share * n)
    label = rng.integers(0, k, n)
    z = rng.normal(size=(n, k)) * 1.5
    z[np.arange(n), label] += np.where(member, 3.5, 1.0)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    p[p < 0.05] = 0
    return make_posteriors(p / p.sum(1, keepdims=True), member, label, name)


def labels_only(n=2000, k=10):
    """A model that answers labels alone: right on 99% of its members and on 60% of others."""
    rng = np.random.default_rng(13)
    member, label = np.arange(n) < n // 2, rng.integers(0, k, n)
    right = rng.random(n) < np.where(member, 0.99, 0.60)
    said = np.where(right, label, (label + 1 + rng.integers(0, k - 1, n)) % k)
    return np.eye(k)[said], member, label, right


def labelled(rows):
    return {row["attack"]: row for row in rows if row["adversary"] is None}


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
        attack_answers(target, Attacker(shadow, recipe=QUICK), Execution(num_devices=1))
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


def test_functions_that_fail_are_one_line():
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
            metered(fn, name="mine").answer(np.eye(2, 3))
        assert "\n" not in str(caught.value)


def test_a_function_with_one_output(rng):
    import ml_dtypes

    box = metered(lambda records: records[:, :1], Limits(batch=3), name="mine")
    records = rng.random((8, 2))
    found = box.answer(records)
    np.testing.assert_allclose(found[:, 1], records[:, 0], rtol=1e-6)
    assert box.notes == ["mine: one posterior per record is read as that of class 1: (1 - p, p)"]
    half = metered(lambda records: records[:, :1].astype(ml_dtypes.bfloat16)).answer(records)
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
        ([f"--target={target}", "--batch=3"], "--batch is given, but nothing is asked"),
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
