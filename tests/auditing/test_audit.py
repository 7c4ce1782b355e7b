"""Audits end to end: a model that remembers, one that does not, one that has only answered."""

import dataclasses
import json
import shutil
import subprocess

import numpy as np
import pytest
from held_locks import holder

from jleaks import locks
from jleaks.auditing import risk
from jleaks.auditing.audit import audit
from jleaks.auditing.policy import apply, outcome, read_audit, read_policy
from jleaks.auditing.verdict import Level
from jleaks.errors import InputError
from jleaks.report import audit_files, audit_page

N, K, SHADOWS = 400, 4, 8
ATTACKS = ("loss", "correctness", "lira_online", "rmia_online", "attack_r", "class_thresholds")


def draw(seed=0):
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(N, 5))
    return data, rng.integers(0, K, N), rng.permutation(N) < N // 2


class Remembering:
    """Answers what it was told for records that it has seen, noise for others."""

    def __init__(self, data, labels, seed, share=1.0):
        rng = np.random.default_rng(seed)
        kept = rng.random(len(labels)) < share
        self.seen = {
            row.tobytes(): label for row, label in zip(data[kept], labels[kept], strict=True)
        }

    def posteriors(self, data):
        found = []
        for row in data:
            rng = np.random.default_rng(np.frombuffer(row.tobytes(), np.uint32))
            p = rng.dirichlet(np.ones(K))
            label = self.seen.get(row.tobytes())
            found.append(p if label is None else 0.1 * p + 0.9 * np.eye(K)[label])
        return np.array(found)


def fit_remembering(data, labels, seed):
    return Remembering(data, labels, seed)


def fit_forgetful(data, labels, seed):
    return Remembering(data, labels, seed, share=0.0)


def predict(model, data):
    return model.posteriors(data)


def test_a_model_that_remembers_is_found_and_its_shadows_are_kept(tmp_path):
    data, labels, member = draw()
    said = []
    given = {"fit": fit_remembering, "predict": predict, "num_shadows": SHADOWS, "attacks": ATTACKS}
    groups = {"side": np.where(data[:, 0] > 0, "left", "right")}
    found = audit(data, labels, member, **given, groups=groups, workdir=tmp_path, tell=said.append)
    assert found.verdict.level >= Level.CLEAR
    assert found.tpr(0.01).mean > 0.9
    assert found.called[0.01].tpr.low > 0.8
    # Members of a model that remembers everything stand out; outsiders are not even asked.
    assert found.at_risk()[member].mean() > 0.9
    assert not found.at_risk()[~member].any()
    assert {part.name for part in found.parts()["side"]} == {"left", "right"}
    assert found.about["num_trained"] == SHADOWS
    again = audit(data, labels, member, **given, groups=groups, workdir=tmp_path)
    assert again.about["num_trained"] == 0
    np.testing.assert_array_equal(again.scores, found.scores)
    with holder(tmp_path / locks.FILE) as other, pytest.raises(InputError, match=f"{other.pid} on"):
        audit(data, labels, member, **given, workdir=tmp_path)
    # A damaged answer is refused, and says what to delete.
    path = next((tmp_path / "shadows").iterdir())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="delete it to train the shadow again"):
        audit(data, labels, member, **given, workdir=tmp_path)


def test_a_model_that_remembers_nothing_is_not_accused():
    data, labels, member = draw(1)
    found = audit(
        data,
        labels,
        member,
        fit=fit_forgetful,
        predict=predict,
        num_shadows=SHADOWS,
        attacks=ATTACKS,
    )
    assert found.verdict.level == Level.NONE_SEEN
    for row in found.rows:
        assert row["auc"]["low"] <= 0.5 + 0.02
    assert found.at_risk().mean() < 0.05


def test_only_answers_give_the_same_numbers_as_training():
    data, labels, member = draw()
    target = predict(fit_remembering(data[member], labels[member], 5), data)
    trained = audit(
        data, labels, member, fit=fit_remembering, predict=predict, answers=target,
        num_shadows=SHADOWS, attacks=ATTACKS,
    )  # fmt: skip
    from jleaks.auditing.shadows import memberships, seed_globally

    shadows = []
    for i, row in enumerate(memberships(member, SHADOWS, 0)):
        model = fit_remembering(data[row], labels[row], seed_globally(0, i))
        shadows.append((predict(model, data), row))
    answered = audit(
        labels=labels, member=member, answers=target, shadow_answers=shadows, attacks=ATTACKS
    )
    np.testing.assert_array_equal(answered.scores, trained.scores)
    assert answered.strongest == trained.strongest


def test_without_shadows_the_answers_alone_are_attacked():
    data, labels, member = draw()
    target = predict(fit_remembering(data[member], labels[member], 5), data)
    found = audit(labels=labels, member=member, answers=target)
    assert found.num_shadows == 0
    assert found.p is None
    assert found.strongest == "modified_entropy"
    assert found.tpr(0.01).mean > 0.3
    assert "No shadow models" in audit_page.untested(found)[0]
    assert "without any model of his own" in audit_page.lead(found)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": None}, "labels and member are needed"),
        ({"fit": None}, "nothing answers|fit and predict are given together"),
        ({"predict": None}, "fit and predict are given together"),
        ({"num_shadows": 2}, "num_shadows is 2, expected 0 or from 4 to"),
        ({"data": None}, "fit needs data"),
        ({"attacks": ("lira_online", "nonsense")}, "unknown attack 'nonsense'"),
        ({"answers": np.zeros((N, K)), "target": 3}, "target and answers are given"),
        ({"fit": lambda *_: 1 / 0}, "fit raised ZeroDivisionError: division by zero"),
        ({"predict": lambda _, x: x.nothing}, "predict raised AttributeError"),
        ({"predict": lambda _, x: x}, "the audited model answered 5 columns for 4 classes"),
    ],
)
def test_bad_input_is_one_line_before_any_training(changes, said):
    data, labels, member = draw()
    given = {
        "data": data,
        "labels": labels,
        "member": member,
        "fit": fit_forgetful,
        "predict": predict,
    }
    with pytest.raises(InputError, match=said) as error:
        audit(**(given | changes))
    assert "\n" not in str(error.value)


# What other processes had in hand is let go of, of which joblib may warn from a thread of its own.
@pytest.mark.filterwarnings("ignore")
def test_a_shadow_that_fails_is_named():
    data, labels, member = draw()

    def fit(*_):
        raise RuntimeError("no memory left")

    with pytest.raises(InputError, match=r"shadow \d: fit raised RuntimeError: no memory left"):
        audit(data, labels, member, fit=fit, predict=predict, target=fit_forgetful(data, labels, 0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    data, labels, member = draw()
    found = audit(
        data, labels, member, fit=fit_remembering, predict=predict, num_shadows=SHADOWS,
        attacks=ATTACKS, ids=[f"<b>{i}</b>" if i else "=1+1" for i in range(N)],
        groups={"<script>alert(1)</script>": np.arange(N) % 2},
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("audit")
    audit_files.save(found, folder, title="<i>mine</i>", command="jleaks audit")
    return found, folder


def test_the_page_is_self_contained_and_escapes_what_users_wrote(saved):
    _, folder = saved
    text = (folder / "report.html").read_text()
    assert "<script>alert" not in text
    assert "<b>" not in text.split("<figure>")[0].split('class="cards"')[0]
    assert "&lt;i&gt;mine" in text
    assert text.count("<svg") == 4
    for word in ("http://", "https://", "src="):
        # The namespaces of SVG are names, nothing is fetched.
        assert word not in text.replace("http://www.w3.org", "").replace(
            "http://purl.org", ""
        ).replace("http://creativecommons.org", "").replace("https://matplotlib.org", "")
    assert "'=1+1" in (folder / "records.csv").read_text()


def test_names_of_classes_are_escaped():
    data, labels, member = draw()
    target = predict(fit_remembering(data[member], labels[member], 5), data)
    named = np.array([f"<em>{label}</em>" for label in labels])
    rows = [np.roll(member, shift) for shift in range(1, 9)]
    shadows = [(predict(fit_remembering(data[m], labels[m], 0), data), m) for m in rows]
    found = audit(
        labels=named, member=member, answers=target, shadow_answers=shadows, attacks=("loss",)
    )
    text = audit_page.page(found, title="<em>mine</em>")
    assert "<em>" not in text
    assert text.count("&lt;em&gt;0&lt;/em&gt;") >= 1


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
def test_the_page_opens_in_a_browser(saved):
    _, folder = saved
    done = subprocess.run(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
            folder / "report.html",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "What was not tested" in done.stdout


def test_the_files_say_what_the_audit_found(saved):
    found, folder = saved
    read = read_audit(folder)
    assert read["level"] == str(found.verdict.level)
    assert read["thresholds"]["0.01"]["tpr"]["mean"] == found.called[0.01].tpr.mean
    assert read["num_at_risk"] == found.at_risk().sum()
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(folder / "records.csv")
    assert len(table) == N
    columns = pandas.read_parquet(folder / "records.parquet")
    assert list(columns.columns) == list(table.columns)
    np.testing.assert_array_equal(columns.score, table.score)
    np.testing.assert_array_equal(columns.p, table.p)
    assert columns.at_risk.tolist() == table.at_risk.tolist()
    # The file's own numbers give the report's.
    outsiders = risk.called(
        table.score.to_numpy(),
        table.member.to_numpy(),
        np.array([found.called[0.01].threshold]),
        0.01,
    )
    assert outsiders.tpr.mean == found.called[0.01].tpr.mean
    assert json.loads((folder / "audit.json").read_text())["command"] == "jleaks audit"


def interval(mean, low, high):
    return {"mean": mean, "low": low, "high": high}


AUDIT = {
    "level": "weak",
    "epsilon": {"one run": 1.5},
    "attacks": [{"attack": "loss", "strongest": True, "auc": interval(0.6, 0.55, 0.65)}],
    "thresholds": {"0.01": {"tpr": interval(0.05, 0.03, 0.08)}},
    "parts": {
        "class": [{"tpr": interval(0.2, 0.1, 0.4)}, {"tpr": None}],
        "sex": [{"tpr": interval(0.1, 0.05, 0.2)}],
    },
}


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"level": "weak"}, "pass"),
        ({"level": "none seen"}, "fail"),
        ({"auc": 0.66}, "pass"),
        ({"auc": 0.6}, "inconclusive"),
        ({"auc": 0.54}, "fail"),
        ({"tpr_at_fpr_0.01": 0.08}, "pass"),
        ({"tpr_at_fpr_0.01": 0.05}, "inconclusive"),
        ({"epsilon": 1.4}, "fail"),
        ({"worst_class": 0.3}, "inconclusive"),
        ({"worst_group": 0.2}, "pass"),
        ({"auc": 0.6, "epsilon": 1.0}, "fail"),
    ],
)
def test_limits_pass_fail_or_cannot_be_told(limits, expected, tmp_path):
    lines = [f"{name!r} = {json.dumps(value)}" for name, value in limits.items()]
    path = tmp_path / "policy.toml"
    path.write_text("[limits]\n" + "\n".join(lines).replace("'", '"'))
    assert outcome(apply(read_policy(path), AUDIT)) == expected


def test_a_regression_is_told_from_noise(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text("[regression]\nauc = 0.02\n")
    policy = read_policy(path)

    def against(mean):
        auc = interval(mean, mean - 0.01, mean + 0.01)
        former = AUDIT | {"attacks": [{"strongest": True, "auc": auc}]}
        return outcome(apply(policy, AUDIT, former))

    assert [against(0.5), against(0.6), against(0.7)] == ["fail", "inconclusive", "pass"]
    with pytest.raises(InputError, match="--baseline"):
        apply(policy, AUDIT)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it has no limit"),
        ("[limits]\nauk = 1", "limits has auk; allowed"),
        ("[limits]\nauc = true", "expected a number >= 0"),
        ("[limits]\nlevel = 'awful'", "level is 'awful'; allowed: none seen, weak, clear, severe"),
        ("[more]\nauc = 1", "unknown table more"),
        ("auc =", "is not TOML"),
        ("limits = 3", "limits is 3, expected a table"),
    ],
)
def test_a_policy_that_cannot_be_used_is_one_line(tmp_path, text, said):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        read_policy(path)


def test_verdicts_about_models_that_remember_nothing_are_wrong_as_rarely_as_stated():
    """Scores of members and others are alike, on the audited model and on its shadows."""
    from jleaks.auditing.attacks import Attacked, Scores
    from jleaks.auditing.judgement import judged
    from jleaks.auditing.records import read_records

    rng = np.random.default_rng(3)
    member = rng.permutation(N) < N // 2
    records = read_records(None, rng.integers(0, K, N), member)
    wrong, times = 0, 60
    for _ in range(times):
        scores = Scores(
            rng.normal(size=N).astype(np.float32), rng.normal(size=(SHADOWS, N)).astype(np.float32)
        )
        attacked = Attacked(
            {"loss": scores},
            np.ones(N, bool),
            np.ones((SHADOWS, N), bool),
            {"loss": 0.0},
            "loss",
            (),
        )
        shadow_member = rng.random((SHADOWS, N)) < 0.5
        found = judged(records, attacked, shadow_member, 1e-5)
        wrong += found["verdict"].level > Level.NONE_SEEN
        assert dataclasses.asdict(found["verdict"])
    assert wrong <= 7
