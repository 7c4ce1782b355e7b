"""The page of an audit, made again from what the audit left: equal to the first, or one line."""

import json
import shutil

import numpy as np
import pytest
import remembering

from jleaks.auditing.audit import audit
from jleaks.errors import InputError
from jleaks.report import audit_files, audit_page
from jleaks.report.run_pages import write_page

SHADOWS = 8
ATTACKS = ("loss", "lira_online", "lira_offline", "rmia_offline", "attack_r", "class_thresholds")
N = 300


def fit_tree(records, labels, seed):
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(random_state=seed).fit(records, labels)


def predict_tree(model, records):
    return model.predict_proba(records)


def of_digits():
    """Names of classes in bytes, ids as objects, and groups that are no names of files."""
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    images, labels = digits.data[:N], digits.target[:N]
    member = np.random.default_rng(0).permutation(N) < N // 2
    return audit(
        images, np.array([f"<{label}>".encode() for label in labels]), member, fit=fit_tree,
        predict=predict_tree, num_shadows=SHADOWS, attacks=ATTACKS, num_processes=1,
        ids=np.array(["=1+1", *map(str, range(1, N))], object),
        groups={"../dark/side": images[:, 30] > 8, "file": np.arange(N) % 3},
    )  # fmt: skip


def of_others(**changes):
    data, others = remembering.draw(N)[0], remembering.draw(N, 1)[0]
    member = np.random.default_rng(2).permutation(N) < N // 2
    given = {"num_shadows": SHADOWS, "attacks": ATTACKS, "num_processes": 1} | changes
    return audit(
        data, remembering.labels_of(data), member, fit=remembering.fit(0.9),
        predict=remembering.predict, shadow_data=others,
        shadow_labels=remembering.labels_of(others), **given,
    )  # fmt: skip


def of_answers():
    rng = np.random.default_rng(3)
    labels, answers = rng.integers(0, 3, N), rng.dirichlet(np.ones(3), N)
    return audit(labels=labels, member=np.arange(N) % 2 == 0, answers=answers)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    audit_files.save(of_digits(), folder, title="<i>digits</i>", command="jleaks audit --seed=0")
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "audit")


def test_the_command_makes_the_page_again_to_the_byte(launch, copy):
    page = copy / "report.html"
    first = page.read_bytes()
    assert b"&lt;i&gt;digits" in first
    assert b"By ../dark/side" in first
    page.unlink()
    # The page needs nothing else.
    (copy / "records.csv").unlink()
    done = launch("jleaks", "report", copy)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"wrote {page}\n"
    assert page.read_bytes() == first


@pytest.mark.parametrize(
    "find",
    [
        of_others,
        lambda: of_others(num_shadows=64, shadow_budget=16, policy={"auc": 0.55}),
        of_answers,
    ],
    ids=["outside", "budget", "answers alone"],
)
def test_pages_of_every_kind_of_audit_are_made_again_to_the_byte(find, tmp_path):
    found = find()
    audit_files.save(found, tmp_path)
    first = audit_page.page(found).encode()
    assert (tmp_path / "report.html").read_bytes() == first
    (tmp_path / "report.html").unlink()
    assert write_page(tmp_path).read_bytes() == first
    # What scripts read of it was not made less by what the page needs.
    kept = json.loads((tmp_path / "audit.json").read_bytes())
    assert [kept[name] for name in kept["provenance"]] == list(found.about.values())
    with np.load(tmp_path / "records.npz") as arrays:
        for name, scores in found.attacked.scores.items():
            np.testing.assert_array_equal(arrays[f"scores/{name}"], scores.target, strict=True)


def test_an_audit_of_an_earlier_version_is_refused_by_name(launch, copy):
    path = copy / "audit.json"
    found = json.loads(path.read_bytes())
    del found["records_sha256"]
    path.write_text(json.dumps(found))
    before = (copy / "report.html").read_bytes()
    done = launch("jleaks", "report", copy)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {path} has no records_sha256: it is of an earlier version, which kept no scores in "
        "records.npz to make the page of; run the same jleaks audit again, which trains no shadow model "
        "that it kept\n"
    )
    assert (copy / "report.html").read_bytes() == before


def refused(folder):
    with pytest.raises(InputError) as caught:
        write_page(folder)
    said = str(caught.value)
    assert "\n" not in said
    assert "jleaks audit" in said
    return said


def test_scores_that_are_missing_damaged_or_another_audit_s_are_one_line(copy, tmp_path):
    path = copy / "records.npz"
    content = path.read_bytes()
    for other in (
        content[:-100],
        content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
        b"",
    ):
        path.write_bytes(other)
        assert f"{path} is not what was written with audit.json (SHA-256 " in refused(copy)
    audit_files.save(of_answers(), tmp_path / "other")
    shutil.copy(tmp_path / "other" / "records.npz", path)
    assert "is not what was written with audit.json" in refused(copy)
    path.unlink()
    assert f"cannot read {path}: No such file or directory" in refused(copy)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[:-100], "is not JSON"),
        (lambda _: "[]", "is no audit, expected a level (none seen, weak"),
        (lambda text: text.replace('"level"', '"leevel"'), "is no audit"),
        (lambda text: text.replace('"precision"', '"precison"'), "it has no entry 'precision'"),
        (lambda text: text.replace('"auc": {', '"auc": 3, "was": {'), "an entry: 'int' object"),
        (lambda text: text.replace('"num_shadows": 8', '"num_shadows": "eight"'), "is damaged (an entry: "),
        (lambda text: text.replace('"strongest": "', '"strongest": "my'), "it has no entry 'my"),
        (lambda text: text.replace('"tpr": {', '"tpr": {"more": 1,'), "unexpected keyword"),
    ],
)  # fmt: skip
def test_damaged_json_is_one_line(copy, damage, said):
    path = copy / "audit.json"
    text = path.read_text()
    path.write_text(damage(text))
    assert path.read_text() != text
    found = refused(copy)
    assert str(path) in found
    assert said in found


def test_a_level_of_another_kind_is_no_audit(copy):
    path = copy / "audit.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"level": ["weak"]}))
    assert "is no audit" in refused(copy)
