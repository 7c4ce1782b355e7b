"""An own defence, end to end: the right answers, naive and aware attackers, a bank, bad input."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jleaks import registry
from jleaks.attacks import bank as bank_lib
from jleaks.defences.defence import DEFENCES, Defence, defence, get_defence
from jleaks.errors import InputError
from jleaks.experiments import sweep
from jleaks.experiments.bank_plan import BankPlan
from jleaks.experiments.engine import opened
from jleaks.experiments.kept import kept_model
from jleaks.experiments.plan import Plan
from jleaks.experiments.remote import Endpoint
from jleaks.training import fleet
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe

PLUGIN = "examples/own_defence.py"
EXECUTION = Execution(models_per_vmap=1)
PLAN = Plan(
    ("location",),
    (1,),
    scale=0.01,
    target=Recipe(hidden=(16,), epochs=4),
    attack=Recipe("mlp", (8,), 2, 50, 1e-2),
    num_random_points=50,
)


@pytest.fixture(autouse=True, scope="module")
def _clipped():
    entries, origins = dict(DEFENCES._entries), dict(DEFENCES._origins)
    registry.load(str(registry.Path(__file__).parents[2] / PLUGIN))
    yield
    DEFENCES._entries, DEFENCES._origins = entries, origins


def softmax(z):
    p = np.exp(z - z.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def logits(library, name, records):
    """A kept model's logits, in NumPy."""
    path, row, _ = library.find(name)
    with np.load(path) as file:
        w = {key: file[key][row].astype(float) for key in file.files if key.startswith("params/")}
    hidden = np.tanh(records @ w["params/Dense_0/kernel"] + w["params/Dense_0/bias"])
    return hidden @ w["params/Dense_1/kernel"] + w["params/Dense_1/bias"]


def test_limits_are_data_and_answers_are_numpys(tmp_path):
    limits = (0.25, 1.0, 4.0)
    with opened(PLAN, EXECUTION, tmp_path) as job:
        plain = job.target("location", 0)
        subjects = [job.target("location", 0, defence=("clipped", x)) for x in limits]
        job.querier.query([plain])
        before = fleet.TRACES["query"]
        found = job.querier.query(subjects)
        assert fleet.TRACES["query"] == before + 1
        assert job.querier.library.num_trained == 1
        assert {job.querier.name(s) for s in subjects} == {job.querier.name(plain)}
        assert len({job.querier.identity(s) for s in (*subjects, plain)}) == 4
        digest = DEFENCES.digests("clipped")["clipped"]
        assert all(digest in job.querier.identity(s) for s in subjects)
        data = job.querier.datasets("location")
        records = data.features[plain.rows].astype(float)
        z = logits(job.querier.library, job.querier.name(plain), records)
        assert np.abs(z).max() > 1.0
        for limit, answers in zip(limits, found, strict=True):
            expected = softmax(np.clip(z, -limit, limit))
            np.testing.assert_allclose(answers.whole(), expected, atol=2e-6)
            true = expected[np.arange(len(z)), data.labels[plain.rows]]
            np.testing.assert_allclose(answers.losses, -np.log(true), rtol=1e-4, atol=1e-5)
        # What goes over the network is defended, too.
        endpoint = Endpoint(job.querier, tmp_path / "http")
        (over_http,) = endpoint.ask(subjects[:1])
        np.testing.assert_allclose(over_http.whole(), found[0].whole(), atol=2e-6)
        # A forest gives posteriors: their logarithms are clipped.
        from jleaks.models.forest import ForestRecipe

        forests = [
            job.target("location", 0, recipe=ForestRecipe(5), defence=given)
            for given in (None, "clipped:1")
        ]
        trees, clipped = (answers.whole() for answers in job.querier.query(forests))
        tiny = np.finfo(np.float32).tiny
        expected = softmax(np.clip(np.log(np.maximum(trees, tiny)), -1, 1))
        np.testing.assert_allclose(clipped, expected, atol=2e-6)


def test_naive_and_aware_attackers(tmp_path):
    rows = {}
    for attacker in ("naive", "aware"):
        plan = dataclasses.replace(PLAN, defence="clipped:0.5", attacker=attacker)
        rows[attacker] = sweep.run(plan, EXECUTION, tmp_path / attacker)
    plain = sweep.run(PLAN, EXECUTION, tmp_path / "plain")
    naive, aware, none = (
        next(r for r in found if r["adversary"] == 1) for found in (*rows.values(), plain)
    )
    assert {r["defence"] for found in rows.values() for r in found} == {"clipped:0.5"}
    assert [naive["attacker"], aware["attacker"]] == ["naive", "aware"]
    assert "defence" not in none
    # The clipped target is the same model, less sure of itself; who is right does not change.
    assert naive["train_loss"] == aware["train_loss"] > none["train_loss"]
    assert naive["shadow_train_loss"] == none["shadow_train_loss"] < aware["shadow_train_loss"]
    assert len({r["fingerprint"] for r in (naive, aware, none)}) == 3
    # What is served is defended.
    model = kept_model(str(tmp_path / "naive"), "location", 0, "target")
    assert model.answering is not None
    assert model.answering.strength.tolist() == [0.5]
    assert kept_model(str(tmp_path / "naive"), "location", 0, "shadow").answering is None


def test_a_stack_in_the_main_job(tmp_path):
    """Several models answer as one; the truth about them is the undefended target's."""
    plan = dataclasses.replace(PLAN, defence="stacking:100", adversaries=(1, 3))
    rows = sweep.run(plan, EXECUTION, tmp_path)
    assert [r["adversary"] for r in rows] == [1, 3, 3, 3]
    for row in rows:
        assert (row["model"], row["num_members"]) == ("stack", 400)
        assert row["test_accuracy"] < row["train_accuracy"]
    with pytest.raises(InputError, match="is no single network; only networks are read"):
        kept_model(str(tmp_path), "location", 0, "target")


def test_a_bank_from_the_command_line(launch, tmp_path):
    flags = (
        *("--tasks=location", "--num_models=4", "--epochs=2", "--hidden=8", "--kernels=xla"),
        *("--num_candidates=400", "--num_population=40", "--num_queries=2"),
    )
    own = f"--plugin={PLUGIN}", "--defence=clipped:0.5"
    for given, name in (((), "plain"), (own, "clipped")):
        done = launch("launch.bank", *flags, *given, f"--workdir={tmp_path / name}")
        assert done.returncode == 0, done.stderr
    plain, clipped = (
        bank_lib.load(tmp_path / name / "location" / "bank.npz") for name in ("plain", "clipped")
    )
    # Of clipped logits the true class is at most a half above and half a one below all others.
    k = plain.num_classes
    most = 1.0 - np.log(k - 1)
    assert np.abs(clipped.phi).max() <= 1.0 + np.log(k - 1) + 1e-4
    assert clipped.phi.max() <= most + 1e-4
    assert plain.phi.max() > most
    np.testing.assert_array_equal(plain.member, clipped.member)
    assert plain.meta["fingerprint"] != clipped.meta["fingerprint"]
    done = launch("launch.bank", *flags, "--defence=clipped:0.5", f"--workdir={tmp_path / 'x'}")
    assert done.returncode == 2
    own = ", ".join(name for name in DEFENCES if DEFENCES.origin(name) is None)
    assert done.stderr == f"error: unknown defence 'clipped'; allowed: none, {own}\n"


def test_an_edited_file_is_another_defence(tmp_path):
    path = tmp_path / "soft.py"
    source = (
        "from jleaks.defences.defence import Defence, defence\n"
        "@defence('soft')\ndef soft(t):\n    return Defence(answer=lambda z: z / t)\n"
    )
    found = []
    for text in (source, source.replace("z / t", "z / (2 * t)"), source):
        path.write_text(text)
        registry.load(str(path))
        found.append(dataclasses.replace(PLAN, defence="soft:2").fingerprint())
    assert found[0] == found[2] != found[1]
    assert PLAN.fingerprint() not in found


def test_dropout_is_the_entry_of_old_fingerprints():
    given = get_defence("dropout:0.5,0.25")
    assert given.trained() == [0.5, 0.25]
    assert get_defence(("dropout", 0.5)).trained() == [0.5, 0.5]
    assert get_defence("clipped:2").trained() is None
    assert str(given) == "dropout:0.5,0.25"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("moon:1", "unknown defence 'moon'; allowed: none, .*dpsgd, .*dropout, .*stacking"),
        ("dropout", "its strength .* is missing, expected numbers such as dropout:0.5"),
        ("dropout:x", "is 'x', expected numbers"),
        ("dropout:1.5", "expected one or two numbers in"),
        ("dropout:nan", "expected finite numbers"),
        ("stacking:-1", "combiner c is -1"),
    ],
)
def test_bad_strengths_are_one_line(text, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(PLAN, defence=text).validate()


def test_what_no_plan_can_have():
    with pytest.raises(InputError, match="attacker is aware, but there is no defence to know of"):
        dataclasses.replace(PLAN, attacker="aware").validate()
    with pytest.raises(InputError, match="defence is stacking:1, but a bank's models answer each"):
        BankPlan("location", 4, 400, 40, defence="stacking:1").validate()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda limit: lambda z: z if limit > 1 else -z, "cannot be applied to logits under jax"),
        (lambda _: lambda z: z.sum(), "makes .*, expected the same"),
        (lambda _: lambda z: jax.nn.softmax(z).astype(jnp.float16), "expected the same"),
    ],
)
def test_answers_that_cannot_be_are_refused_before_training(answer, message, tmp_path):
    defence("broken")(lambda limit: Defence(answer=answer(limit)))
    with (
        opened(PLAN, EXECUTION, tmp_path) as job,
        pytest.raises(InputError, match=message),
    ):
        job.querier.query([job.target("location", 0, defence="broken:2")])
    assert not list((tmp_path / "models").iterdir())


def test_a_defence_must_do_something():
    defence("idle")(lambda _: Defence())
    # It is the file's that decorates, not the decorator's.
    assert DEFENCES.origin("idle").path == __file__
    with pytest.raises(InputError, match="idle defends nothing"):
        get_defence("idle:1")
    defence("typo")(lambda x: Defence(training={"dropuot": x}))
    with pytest.raises(InputError, match="typo changes dropuot of training, expected some of"):
        get_defence("typo:1")
