"""Defences in training: losses against float64 loops, gradients followed, strengths as one fleet."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jleaks.data.splits import halves
from jleaks.defences.defence import get_defence
from jleaks.errors import InputError
from jleaks.experiments import bank
from jleaks.experiments.bank_plan import BankPlan
from jleaks.experiments.plan import Plan
from jleaks.experiments.subjects import SubjectLayout
from jleaks.training import fleet, objective
from jleaks.training.learner import Batch
from jleaks.training.recipe import Recipe
from jleaks.training.step import gradient, record_losses
from tests.defences.test_dpsgd import one_model
from tests.fleets import fleet_spec, trained

K = 5


@pytest.fixture
def answers(rng):
    return rng.normal(0, 2, (12, K)).astype(np.float32), rng.integers(0, K, 12).astype(np.int32)


def posterior(z):
    p = np.exp(z.astype(float) - z.max())
    return p / p.sum()


def every(value):
    return jnp.full(12, value, jnp.float32)


def losses_of(given, z, y):
    plain = np.array([-math.log(posterior(row)[label]) for row, label in zip(z, y, strict=True)])
    return plain, np.asarray(objective.changed(given, z, y, plain.astype(np.float32)), float)


def test_smoothing_is_cross_entropy_with_a_softer_label(answers):
    z, y = answers
    _, found = losses_of(objective.Objective(smoothing=every(0.3)), z, y)
    for row, label, loss in zip(z, y, found, strict=True):
        target = 0.7 * np.eye(K)[label] + 0.3 / K
        assert loss == pytest.approx(-(target * np.log(posterior(row))).sum(), rel=1e-5)


def test_the_penalty_is_entropy(answers):
    z, y = answers
    plain, found = losses_of(objective.Objective(penalty=every(0.4)), z, y)
    for row, loss, base in zip(z, found, plain, strict=True):
        p = posterior(row)
        assert loss == pytest.approx(base + 0.4 * (p * np.log(p)).sum(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("level", [0.0, 0.2, 0.7, 0.95])
@pytest.mark.parametrize("k", [2, 10])
def test_soft_labels_have_the_entropy_that_was_asked_for(level, k):
    s = float(objective.soft_share(jnp.array([level]), k)[0])
    label = (1 - s) * np.eye(k)[0] + s / k
    entropy = -sum(p * math.log(p) for p in label if p > 0)
    assert entropy / math.log(k) == pytest.approx(level, abs=1e-4)
    assert label[0] >= 1 / k


@pytest.mark.parametrize("even", [True, False])
def test_relaxloss_goes_down_up_or_flat(answers, even):
    z, y = answers
    plain, _ = losses_of(objective.Objective(), z, y)
    flags = jnp.full(12, even)

    def given(alpha):
        return objective.Objective(relax=every(alpha), even=flags)

    # At or above alpha nothing changes.
    np.testing.assert_allclose(losses_of(given(plain.mean() * 0.99), z, y)[1], plain, rtol=1e-6)
    _, found = losses_of(given(plain.mean() * 1.01), z, y)
    for row, label, loss, base in zip(z, y, found, plain, strict=True):
        p = posterior(row)
        target = np.full(K, (1 - p[label]) / (K - 1))
        target[label] = p[label]
        expected = -base if even else -(target * np.log(p)).sum()
        assert loss == pytest.approx(expected, rel=1e-4)
    if not even:
        # The true class keeps its posterior: the gradient there is that of a target, held fixed.
        grads = jax.grad(lambda z: objective.changed(given(99.0), z, y, jnp.zeros(12)).sum())(z)
        p = np.stack([posterior(row) for row in z])
        np.testing.assert_allclose(grads[np.arange(12), y], 0, atol=1e-5)
        rest = (1 - p[np.arange(12), y]) / (K - 1)
        other = np.arange(K) != y[:, None]
        expected = (p - rest[:, None])[other]
        np.testing.assert_allclose(np.asarray(grads)[other], expected, atol=1e-5)


def test_weight_decay_adds_twice_the_weights():
    learner, data, _, state = one_model(Recipe(hidden=(16,), batch_size=20))
    plain = Batch(data.features[:20], data.labels[:20])
    decayed = plain._replace(objective=objective.Objective(decay=jnp.full(20, 0.3)))
    for blocks in (None, 5):
        one = dataclasses.replace(learner, records_per_block=blocks)
        loss, before, _ = gradient(one, state, plain)
        more, after, _ = gradient(one, state, decayed)
        squares = sum(float((w["kernel"].astype(float) ** 2).sum()) for w in state.params.values())
        assert float(more) == pytest.approx(float(loss) + 0.3 * squares, rel=1e-4)
        for name, weights in state.params.items():
            np.testing.assert_allclose(
                after[name]["kernel"] - before[name]["kernel"],
                0.6 * weights["kernel"],
                atol=1e-5,
            )
            np.testing.assert_allclose(after[name]["bias"], before[name]["bias"], atol=1e-6)


def test_mixup_mixes_inputs_and_labels():
    learner, data, _, state = one_model(Recipe(hidden=(16,), batch_size=6))
    share = jnp.array([0.0, 0.2, 0.5, 0.7, 1.0, 0.9], jnp.float32)
    partner = jnp.roll(jnp.arange(6), 1)
    mixed = objective.Mixed(data.features[partner], data.labels[partner], share)
    batch = Batch(data.features[:6], data.labels[:6], mixed=mixed)
    logits, _ = learner.apply(state, batch)
    found = record_losses(learner, logits, batch)
    for i in range(6):
        a, b = np.asarray(data.features[i], float), np.asarray(data.features[partner[i]], float)
        w = float(share[i])
        x = w * a + (1 - w) * b
        weights = state.params
        hidden = np.tanh(x @ weights["Dense_0"]["kernel"] + weights["Dense_0"]["bias"])
        p = posterior(
            np.asarray(hidden @ weights["Dense_1"]["kernel"] + weights["Dense_1"]["bias"])
        )
        expected = -w * math.log(p[data.labels[i]]) - (1 - w) * math.log(p[data.labels[partner[i]]])
        assert float(found[i]) == pytest.approx(expected, rel=1e-4)


def fitted(**training):
    count = len(next(iter(training.values())))
    c = fleet_spec("mlp", count, epochs=4)
    values = {name: np.array(value, np.float32) for name, value in training.items()}
    c = dataclasses.replace(c, members=c.members._replace(**values))
    before = fleet.TRACES["fit"]
    found = trained(c, models_per_vmap=1)
    # A program of these shapes may be there already.
    assert fleet.TRACES["fit"] <= before + 1
    return found


PLAIN = {}


@pytest.mark.parametrize(
    ("name", "neutral", "strong"),
    [
        ("smoothing", 0.0, 0.5),
        ("penalty", 0.0, 1.0),
        ("decay", 0.0, 1.0),
        ("relax", 0.0, 5.0),
        ("last_epoch", 4.0, 2.0),
        ("entropy", 0.0, 0.8),
    ],
)
def test_strengths_are_one_fleet_and_the_neutral_one_is_plain(name, neutral, strong):
    """The first model's weights are those of training without the defence, the second's are not."""
    if not PLAIN:
        PLAIN["weights"] = trained(fleet_spec("mlp", 2, epochs=4), models_per_vmap=1)
    found, plain = fitted(**{name: (neutral, strong)}), PLAIN["weights"]
    kernel = np.asarray(found.params["Dense_0"]["kernel"])
    expected = np.asarray(plain.params["Dense_0"]["kernel"])
    np.testing.assert_allclose(kernel[0], expected[0], rtol=1e-3, atol=1e-3)
    assert np.abs(kernel[1] - expected[1]).max() > 1e-2


def test_early_stopping_stays_where_it_was():
    stopped = fitted(last_epoch=(2.0, 3.0))
    losses = np.asarray(stopped.losses)
    assert losses[0, 1] == losses[0, 2] == losses[0, 3] != losses[0, 0]
    assert losses[1, 2] == losses[1, 3] != losses[1, 1]


def test_mixup_is_drawn_from_identity():
    alone, beside = fitted(mixup=(0.4,)), fitted(mixup=(0.4, 1.0))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b[0]), alone, beside)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label_smoothing:1", r"share is 1.0, expected one number in \[0, 1\)"),
        ("confidence_penalty:-1", "expected one number in"),
        ("weight_decay:nan", "expected finite numbers"),
        ("early_stopping:0", "number of epochs is 0.0, expected one number in"),
        ("relaxloss:1,2", "expected one number in"),
        ("mixup:0", r"mixup's parameter is 0.0, expected one number in \(0, inf\)"),
        ("hamp_training:0.5,1,2", "expected one or two numbers"),
        ("adversarial:-1", "adversarial regularisation's weight is -1.0, expected one number in"),
        (
            "adversarial:1,1",
            r"adversarial regularisation's share is 1.0, expected one number in \(0, 1\)",
        ),
        ("adversarial:1,0.5,2", "expected one or two numbers"),
        ("hamp_training:1", "HAMP's entropy is 1.0, expected one number in"),
    ],
)
def test_bad_strengths_are_one_line(text, message):
    with pytest.raises(InputError, match=message):
        get_defence(text)


def test_adversarial_regularisation_keeps_records_for_comparison():
    plan = Plan(tasks=("location",), source="synthetic", seeds=(1,))
    layout = SubjectLayout(plan, {"location": 500})
    plain = layout.target("location", 0)
    for share, given in ((0.2, "adversarial:3"), (0.5, "adversarial:3,0.5")):
        found = layout.target("location", 0, defence=given)
        count = round(share * len(plain.members))
        assert len(found.reference) == count
        assert len(found.members) == len(found.others) == len(plain.members) - count
        kept = np.concatenate([found.members, found.reference])
        np.testing.assert_array_equal(np.sort(kept), np.sort(plain.members))
        assert set(found.others) <= set(plain.others)
        assert found.defence.training == {"adversarial": 3.0}


def test_without_records_to_compare_with_or_to_train_on_is_one_line():
    plan = Plan(tasks=("location",), source="synthetic", seeds=(1,))
    layout = SubjectLayout(plan, {"location": 500})
    for share, kept in ((1e-4, 0), (1 - 1e-6, 125)):
        with pytest.raises(InputError, match=f"keeps {kept} of the 125 members of the target"):
            layout.target("location", 0, defence=f"adversarial:3,{share}")


def test_a_bank_s_models_are_compared_with_its_population():
    plan = BankPlan(
        task="location", num_models=4, num_candidates=40, num_population=20, defence="adversarial:3"
    )
    split = halves("location", plan.seed, 100, 4, 40, 20)
    for model in bank.subjects(plan, split, range(4)):
        np.testing.assert_array_equal(model.reference, split.population)
        assert len(model.members) == len(model.others) == 20
