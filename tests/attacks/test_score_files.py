"""Score files from anywhere: what is accepted, what it becomes, and what is refused."""

import json

import numpy as np
import pytest
from scipy.special import log_softmax
from score_arrays import K, M, N, expected, read
from sklearn.ensemble import RandomForestClassifier

from jleaks.attacks import score_files
from jleaks.attacks.bank import Bank
from jleaks.attacks.evaluate_bank import scores
from jleaks.attacks.references import assign
from jleaks.attacks.registry import ATTACKS
from jleaks.attacks.requirements import missing
from jleaks.errors import InputError


def refuses(tmp_path, words, **arrays):
    with pytest.raises(InputError, match=words) as caught:
        read(tmp_path, **arrays)
    assert "\n" not in str(caught.value)
    assert "scores.npz" in str(caught.value)


def kept(values):
    """Infinite values log 2 beyond the finite ones."""
    finite = values[np.isfinite(values)]
    low, high = min(finite.min(), 0) - np.log(2), max(finite.max(), 0) + np.log(2)
    return np.clip(values, low, high)


def test_all_attacks_run_on(tmp_path, truth, logits):
    """Whatever a file holds, no attack that can be run gives a score that is no number."""
    zero = logits.copy()
    zero[4, :, 4] = -np.inf
    p = np.random.default_rng(1).multinomial(4, np.ones(K) / K, (M, N)) / 4
    one_hot = np.eye(K)[logits.argmax(-1)]
    for arrays in ({"logits": zero}, {"posteriors": p}, {"posteriors": one_hot}):
        bank = read(tmp_path, **arrays, **truth)
        attacks = [attack for attack in ATTACKS.values() if missing(attack, bank) is None]
        assert len(attacks) > 15
        for name, rows in scores(bank, attacks, *assign(bank)).items():
            assert np.isfinite(rows).all(), name


def test_a_class_that_a_model_never_saw(tmp_path, truth, logits):
    logits[4, :, 4] = -np.inf
    bank = read(tmp_path, logits=logits, **truth)
    phi, mentr = expected(logits, truth["labels"])
    of_class = truth["labels"] == 4
    np.testing.assert_array_equal(np.isinf(phi), np.arange(M)[:, None] * of_class == 4)
    np.testing.assert_allclose(bank.phi[0], kept(phi), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(bank.mentr, kept(mentr), rtol=1e-4, atol=1e-5)
    phi_t, _ = expected(logits / 2, truth["labels"])
    np.testing.assert_allclose(bank.phi_t, kept(phi_t), rtol=1e-4, atol=1e-5)
    assert bank.phi[0][4, of_class].max() < bank.phi[0][np.isfinite(phi)].min()
    (note,) = bank.meta["notes"]
    assert f"{N // K} records (4, 9, 14, 19, 24, ...) have a probability of 0" in note
    assert "in 1 models (4)" in note
    assert f"kept at {kept(phi).min():.4g}" in note


def test_masks_are_zeros(tmp_path, truth, logits):
    """Some frameworks mask a class by the lowest float there is."""
    masked, infinite = logits.copy(), logits.copy()
    masked[4, :, 4], infinite[4, :, 4] = np.finfo(np.float32).min, -np.inf
    found, wanted = (read(tmp_path, logits=z, **truth) for z in (masked, infinite))
    np.testing.assert_array_equal(found.phi, wanted.phi)
    np.testing.assert_array_equal(found.mentr, wanted.mentr)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "logits of model 3: record 17 has nan for class 2"),
        (np.inf, "logits of model 3: record 17 has inf for class 2"),
        (-np.inf, "logits of model 3: record 17 has -inf for class 0 and every other"),
    ],
)
def test_damaged_logits_are_named(tmp_path, truth, logits, value, words):
    logits[3, 17, 2 if value != -np.inf else slice(None)] = value
    refuses(tmp_path, words, logits=logits, **truth)
    several = np.stack([np.zeros_like(logits), logits])
    refuses(tmp_path, words.replace("model", "query 1, model", 1), logits=several, **truth)


def test_ragged_arrays_are_never_unpickled(tmp_path, truth, logits):
    ragged = np.empty(M, object)
    for i in range(M):
        ragged[i] = logits[i] if i != 4 else logits[i][:, :4]
    refuses(
        tmp_path, "logits is an array of Python objects .* never loaded", logits=ragged, **truth
    )


def test_one_output_is_the_logit_or_the_posterior_of_class_1(tmp_path, truth, rng):
    z = rng.normal(0, 3, (M, N, 1))
    labels = (truth["labels"] % 2).astype(np.float32)
    arrays = {"member": truth["member"], "labels": labels}
    bank = read(tmp_path, logits=z, **arrays)
    phi = np.where(labels == 1, 1, -1) * z[..., 0]
    np.testing.assert_allclose(bank.phi[0], phi, rtol=1e-5)
    np.testing.assert_array_equal(bank.correct[0], (z[..., 0] > 0) == (labels == 1))
    assert bank.num_classes == 2
    assert bank.labels.dtype == np.int32
    assert "one logit z per record" in bank.meta["notes"][0]
    again = read(tmp_path, posteriors=1 / (1 + np.exp(-z)), **arrays)
    np.testing.assert_allclose(again.phi[0], phi, rtol=1e-4)
    assert "one posterior per record" in again.meta["notes"][0]
    refuses(tmp_path, "record 2 has label 2, expected a whole number in 0..1", logits=z, **truth)
    refuses(
        tmp_path, r"one output per record is \[models, records, 1\]", logits=z[..., 0], **arrays
    )


def test_posteriors_give_what_logits_give(tmp_path, truth, logits):
    for several in (logits, np.stack([logits, -logits])):
        p = np.exp(log_softmax(several, axis=-1))
        bank, wanted = (
            read(tmp_path, posteriors=p, **truth),
            read(tmp_path, logits=several, **truth),
        )
        for name in ("phi", "phi_t", "mentr", "maximum", "entropy", "correct"):
            np.testing.assert_allclose(
                getattr(bank, name), getattr(wanted, name), rtol=1e-4, atol=1e-5, err_msg=name
            )
    phi, _ = expected(logits, truth["labels"])
    most = np.abs(np.stack([phi, expected(-logits, truth["labels"])[0]])).max()
    assert f"beyond |phi| = {most:.3g} they tell no answers apart" in bank.meta["notes"][0]


def test_a_forest_s_answers_as_they_come(tmp_path, rng):
    x, labels = rng.normal(size=(N, 4)), np.arange(N) % 3
    member = rng.permuted(np.tile(np.arange(N) < N // 2, (4, 1)), axis=1)
    p = np.stack(
        [
            RandomForestClassifier(20, random_state=i).fit(x[mine], labels[mine]).predict_proba(x)
            for i, mine in enumerate(member)
        ]
    )
    assert (p == 0).any()
    bank = read(tmp_path, posteriors=p, member=member, labels=labels)
    with np.errstate(divide="ignore"):
        phi, mentr = expected(np.log(p), labels)
    np.testing.assert_allclose(bank.phi[0], kept(phi), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(bank.mentr, kept(mentr), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(bank.correct[0], p.argmax(-1) == labels)
    # Answers that are equal on paper tie.
    own = np.round(20 * p[np.arange(4)[:, None], np.arange(N), labels])
    assert all(len(np.unique(bank.phi[0][own == count])) == 1 for count in np.unique(own))
    never = np.isneginf(phi).any(0)
    assert any(
        f"{never.sum()} records ({', '.join(map(str, np.flatnonzero(never)[:5]))}" in note
        for note in bank.meta["notes"]
    )


def test_rounded_posteriors_are_told(tmp_path, truth):
    p = np.random.default_rng(0).dirichlet(np.full(40, 0.05), (M, N)).round(3)
    truth["labels"] = np.arange(N) % 40
    bank = read(tmp_path, posteriors=p, **truth)
    assert "(rounded to 3 digits); each record's were divided by their sum" in bank.meta["notes"][0]
    p[2, 7, 3] += 0.5
    refuses(
        tmp_path, "posteriors of model 2: the posterior of record 7 sums to", posteriors=p, **truth
    )


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("labels", np.full(N, 2**32 + 1), "record 0 has label 4294967297"),
        ("labels", np.full(N, 2**63, np.uint64), "record 0 has label 9223372036854775808"),
        (
            "labels",
            np.full(N, K),
            rf"record 0 has label {K}, expected a whole number in 0..{K - 1}",
        ),
        ("labels", np.full(N, 0.5), r"record 0 has label 0\.5"),
        ("labels", np.zeros((N, 1)), "labels have shape"),
        ("labels", np.array(["cat", "dog"] * (N // 2)), f"labels are 2 names .* for {K} classes"),
        ("member", np.full((M, N), "yes"), "model 0, record 0 has member yes"),
        ("member", np.full((M, N), np.nan), "model 0, record 0 has member nan"),
        ("member", np.ones((M, N), complex), "member is complex128"),
        ("population", np.full(N, 2), "record 0 has population 2"),
        ("logits", np.zeros((M, N, K), complex), "logits are complex128"),
        ("logits", np.full((M, N, K), "a"), "logits are <U1"),
        ("logits", np.zeros((M, N, K), bool), "logits are bool"),
        ("logits", np.zeros((M, N, K), "V2"), r"bfloat16\?  Save float32"),
        ("logits", np.zeros((0, N, K)), "logits have shape"),
        ("logits", np.float64(3), "logits have shape"),
        ("phi", np.full((M, N), "a"), "phi is <U1, expected numbers"),
        (
            "phi",
            np.full((M, N), 1e300),
            "phi has 360 values .*, the first 1e.300 of model 0, record 0",
        ),
        ("mentr", np.zeros((M, N), bool), "mentr is bool"),
        ("correct", np.full((M, N), 2), "model 0, record 0 has correct 2"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, truth, logits, name, array, words):
    refuses(tmp_path, words, **{"logits": logits, **truth, name: array})


def test_labels_without_anything_to_count_classes_have_a_bound(tmp_path, truth, rng):
    phi = rng.normal(size=(M, N))
    labels = truth["labels"].copy()
    labels[3] = 2**31 - 1
    refuses(
        tmp_path, "record 3 has label 2147483647", phi=phi, member=truth["member"], labels=labels
    )
    names = np.array(["ant", "bee", "cow", "dog", "elk"])[truth["labels"]]
    bank = read(tmp_path, phi=phi, member=truth["member"].astype(str), labels=names)
    np.testing.assert_array_equal(bank.labels, truth["labels"])
    np.testing.assert_array_equal(bank.member, truth["member"])
    assert "ant = 0, bee = 1, cow = 2" in bank.meta["notes"][0]


def test_temperatures_are_positive(tmp_path, truth, logits):
    np.savez(tmp_path / "scores.npz", logits=logits, **truth)
    for temperature in (-1.0, 0.0, float("nan"), float("inf")):
        with pytest.raises(
            InputError, match=r"temperature is .*, expected a number from 1e-6 to 1e6"
        ):
            score_files.read(tmp_path / "scores.npz", temperature)


@pytest.mark.parametrize("meta", ["resnet18", '{"model": "resnet18"}', "[1]", np.arange(3)])
def test_a_files_own_meta_does_not_make_it_a_banks(tmp_path, truth, logits, meta):
    bank = read(tmp_path, logits=logits, meta=meta, extra=np.zeros(2), **truth)
    np.testing.assert_array_equal(bank.phi, read(tmp_path, logits=logits, **truth).phi)
    assert "not used: meta, extra" in bank.meta["notes"][0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"twins": "no"}, 'twins in meta is "no", expected bool'),
        ({"num_classes": True}, "num_classes in meta is true, expected int"),
        ({"task": ["../evil"]}, "task in meta is"),
        ({"plan": "text"}, 'plan in meta is "text", expected dict'),
        ({"seconds": None}, "seconds in meta is null"),
    ],
)
def test_a_banks_meta_is_of_the_types_that_are_written(tmp_path, truth, logits, changes, words):
    bank = read(tmp_path, logits=logits, **truth)
    bank.save(tmp_path / "bank.npz")
    assert isinstance(score_files.read(tmp_path / "bank.npz"), Bank)
    arrays = dict(np.load(tmp_path / "bank.npz"))
    meta = json.loads(str(arrays.pop("meta"))) | changes
    refuses(tmp_path, words, meta=json.dumps(meta), **arrays)
    if "twins" in changes:
        meta["twins"] = False
        arrays["labels"] = arrays["labels"] + 0.5
        refuses(tmp_path, "labels is float64, expected integers", meta=json.dumps(meta), **arrays)


def test_files_that_are_not_what_they_say(tmp_path):
    import zipfile

    path = tmp_path / "scores.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    for words in (
        "holds one array",
        "holds the array phi twice",
        "is damaged",
        "phi is not an array",
    ):
        with pytest.raises(InputError, match=words):
            score_files.read(path)
        path.unlink()
        if words.startswith("holds one"):
            np.save(tmp_path / "phi.npy", np.zeros(3))
            with zipfile.ZipFile(path, "w") as file:
                file.write(tmp_path / "phi.npy", "phi.npy")
                with pytest.warns(UserWarning, match="Duplicate"):
                    file.write(tmp_path / "phi.npy", "phi.npy")
        elif words.startswith("holds the"):
            # 18 TB, if its header is believed.
            header = (tmp_path / "phi.npy").read_bytes().replace(b"(3,)", b"(2305843009213,)")[:128]
            with zipfile.ZipFile(path, "w") as file:
                file.writestr("phi.npy", header)
        else:
            with zipfile.ZipFile(path, "w") as file:
                file.writestr("phi", b"text")


def test_the_launcher_says_how_a_file_was_read(tmp_path, truth, logits, launch):
    logits[4, :, 4] = -np.inf
    np.savez(tmp_path / "scores.npz", logits=logits, meta="resnet18", **truth)
    done = launch(
        "launch.attack", f"--signals={tmp_path / 'scores.npz'}", "--attacks=loss,lira_online",
        "--audit=", "--compare=", "--num_cpu_devices=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "not used: meta\n" in done.stdout
    assert "have a probability of 0 for their true class in 1 models (4)" in done.stdout
    summary = json.loads((tmp_path / "summary.jsonl").read_text().splitlines()[0])
    assert len(summary["notes"]) == 2


def test_the_launcher_says_where_shadows_cannot_be_attacked(tmp_path, rng, launch):
    half = rng.random(N) < 0.5
    member = np.stack([half, ~half])
    phi = rng.normal(0, 2, (1, 2, N)).astype(np.float32)
    np.savez(tmp_path / "two.npz", phi=phi, member=member, labels=np.zeros(N, np.int32))
    done = launch(
        "launch.attack", f"--signals={tmp_path / 'two.npz'}", "--attacks=loss,lira_offline",
        "--audit=", "--compare=", "--num_cpu_devices=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "lira_offline left out: no reference that did not train on a record" in done.stdout
    (line,) = [x for x in done.stdout.splitlines() if "shadows cannot be attacked" in x]
    assert line.endswith("chosen on a shadow stay at their default")
    rows = [json.loads(x) for x in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert {row["attack"] for row in rows} == {"loss"}
    assert all(row["precision"] is None and row["auc"] is not None for row in rows)
