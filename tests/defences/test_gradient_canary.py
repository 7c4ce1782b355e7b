"""A canary gradient in DP-SGD: its score against loops, what it adds to a step, what its absence leaves."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT

from benchmarks.checks import white_box
from benchmarks.pages import defences as defences_page
from benchmarks.pages import filled
from jleaks import json_lines
from jleaks.errors import InputError
from jleaks.keys import Stream, wrap
from jleaks.metrics.privacy_accounting import noise_for
from jleaks.models.kernels import XLA
from jleaks.training import clipping, epoch, gradient_canary, private
from jleaks.training.execution import Execution
from jleaks.training.learner import Data
from tests.fleets import assert_identical, fleet_spec, trained

# Noise, clipping norm and sampling rate.
PRIVACY = (0.5, 0.7, 0.3)
COINS = (1, 0, 1, 0, 1)


def with_canaries(spec, coins=COINS, privacy=PRIVACY):
    rows = np.tile(np.array(privacy, np.float32), (spec.num_models, 1))
    members = spec.members._replace(privacy=rows, canary=np.array(coins, np.float32))
    return dataclasses.replace(spec, members=members)


def one_model(spec, i):
    data = Data(jnp.asarray(spec.features), jnp.asarray(spec.labels))
    members = jax.tree.map(lambda leaf: jnp.asarray(leaf[i]), spec.members)
    key = wrap(jnp.asarray(spec.key_data[i]))
    return data, members, key, epoch.init(spec.learner, data, members, key, None)


def step_key(key, stream, e, i):
    for part in (stream, e, i):
        key = jax.random.fold_in(key, part)
    return key


def wide(tree):
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]


@functools.partial(jax.jit, static_argnums=0)
def drawn(learner, data, members, state, at, own, e, j):
    rows = members.indices[at]
    return epoch.draw(learner, data, members, own, state, rows, data.labels[rows], e, j)


clipped = jax.jit(clipping.clipped_sum, static_argnums=0)


@functools.partial(jax.jit, static_argnums=0)
def one_step(learner, data, members, key, unit, state, e, j):
    keys = step_key(key, Stream.SAMPLE, e, j), step_key(key, Stream.NOISE, e, j)
    canary = gradient_canary.Canary(unit, members.canary, step_key(key, Stream.CANARY_SAMPLE, e, j))
    return private.step(
        learner, members, state,
        lambda at, own: drawn(learner, data, members, state, at, own, e, j), keys,
        jnp.float32(1), jnp.bool_(True), canary,
    )[1]  # fmt: skip


def looped(spec, i):
    """Trains one model step by step; returns its state, and its score and the others' part in float64."""
    learner = spec.learner
    data, members, key, state = one_model(spec, i)
    noise, clip, rate = (float(value) for value in members.privacy)
    size, n = private.block_size(learner), int(members.size)
    unit = gradient_canary.direction(state.params, jax.random.fold_in(key, Stream.CANARY_GRADIENT))
    score = others = 0.0
    for e in range(learner.recipe.epochs):
        for j in range(n // learner.recipe.batch_size):
            e_, j_ = jnp.int32(e), jnp.int32(j)
            own = step_key(key, Stream.SAMPLE, e_, j_)
            order, count = private.sample(learner, members, members.privacy[2], own)
            order = np.pad(np.asarray(order), (0, size))
            total = [np.zeros(leaf.shape) for leaf in jax.tree.leaves(state.params)]
            for b in range(-(-int(count) // size)):
                at = jnp.asarray(order[b * size : (b + 1) * size])
                real = np.arange(b * size, (b + 1) * size) < int(count)
                own_block = jax.random.fold_in(own, b)
                batch = drawn(learner, data, members, state, at, own_block, e_, j_)
                grads = clipped(learner, state, batch, members.privacy[1], real)[1]
                total = [a + g for a, g in zip(total, wide(grads), strict=True)]
            word = int(jax.random.bits(step_key(key, Stream.CANARY_SAMPLE, e_, j_), (1,))[0])
            present = float(members.canary) * (word < rate * 2**32)
            for k, (a, g) in enumerate(zip(total, wide(unit), strict=True)):
                own_noise = jax.random.fold_in(step_key(key, Stream.NOISE, e_, j_), k)
                z = np.asarray(jax.random.normal(own_noise, g.shape), np.float64)
                score += (g * (a + present * clip * g + noise * clip * z)).sum() / clip
                others += (g * a).sum() / clip
            state = one_step(learner, data, members, key, unit, state, e_, j_)
    return state, score, others


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_a_score_is_that_of_a_loop_over_the_noisy_sums(model):
    """The path of fully connected layers and that of any network; one with the canary, one without."""
    spec = with_canaries(fleet_spec(model, 2, epochs=2), COINS[:2])
    found = trained(spec, models_per_vmap=1)
    for i in range(2):
        state, score, others = looped(spec, i)
        assert float(state.trace["canary"]) == pytest.approx(score, rel=1e-4, abs=1e-4)
        assert float(state.trace["others"]) == pytest.approx(others, rel=1e-4, abs=1e-4)
        # Rounding in another order moves the weights that later steps start from.
        assert found.trace["canary"][i] == pytest.approx(score, rel=1e-2, abs=1e-2)
        assert found.trace["others"][i] == pytest.approx(others, rel=1e-2, abs=1e-2)


def test_a_direction_is_a_unit_vector_of_the_key_s_own():
    *_, state = one_model(fleet_spec("mlp", 1), 0)
    first, second = (
        gradient_canary.direction(state.params, jax.random.key(seed)) for seed in (1, 2)
    )
    flat = [np.concatenate([leaf.ravel() for leaf in wide(unit)]) for unit in (first, second)]
    assert np.linalg.norm(flat[0]) == pytest.approx(1, abs=1e-6)
    assert abs(flat[0] @ flat[1]) < 5 / math.sqrt(flat[0].size)
    assert float(gradient_canary.along(first, second)) == pytest.approx(flat[0] @ flat[1], abs=1e-6)
    # No layer has more than its share.
    for leaf in wide(first):
        share, expected = (leaf**2).sum(), leaf.size / flat[0].size
        assert share < expected + 6 * math.sqrt(2 * expected / flat[0].size)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_it_adds_its_gradient_in_the_steps_in_which_it_takes_part(model):
    """SGD without momentum: by what the weights of two neighbours differ after one step from the same."""
    spec = with_canaries(fleet_spec(model, 1), COINS[:1])
    recipe = dataclasses.replace(
        spec.learner.recipe, optimizer="sgd", momentum=0.0, l2=0.0, learning_rate=0.5
    )
    learner = dataclasses.replace(spec.learner, recipe=recipe)
    data, members, key, state = one_model(dataclasses.replace(spec, learner=learner), 0)
    _, clip, rate = members.privacy
    unit = gradient_canary.direction(state.params, jax.random.key(7))

    def draw(at, own):
        rows = members.indices[at]
        labels, zero = data.labels[rows], jnp.int32(0)
        return epoch.draw(learner, data, members, own, state, rows, labels, zero, zero)

    @jax.jit
    def step(number, inserted):
        canary = gradient_canary.Canary(unit, inserted, jax.random.fold_in(key, number))
        keys = jax.random.key(1), jax.random.key(2)
        return private.step(
            learner, members, state, draw, keys, jnp.float32(1), jnp.bool_(True), canary
        )[1]

    took = []
    for number in range(12):
        without, with_it = (step(number, jnp.float32(inserted)) for inserted in (0, 1))
        shift = float(with_it.trace["canary"] - without.trace["canary"])
        took.append(round(shift))
        assert shift == pytest.approx(took[-1], abs=1e-5)
        assert float(with_it.trace["others"]) == float(without.trace["others"])
        moved = jax.tree.map(lambda a, b: a - b, without.params, with_it.params)
        for a, g in zip(wide(moved), wide(unit), strict=True):
            expected = 0.5 * took[-1] * float(clip) * g / (float(rate) * 60)
            np.testing.assert_allclose(a, expected, atol=1e-6)
    assert 0 < sum(took) < 12
    assert set(took) == {0, 1}


def test_where_none_is_inserted_the_weights_are_those_without_the_field():
    """Of a CNN XLA compiles another program with it, whose products round otherwise."""
    spec = fleet_spec("mlp", 2, epochs=2)
    looked_for = with_canaries(spec, (0, 0))
    absent = dataclasses.replace(looked_for, members=looked_for.members._replace(canary=None))
    found = trained(looked_for, models_per_vmap=1)
    plain = trained(absent, models_per_vmap=1)
    assert plain.trace == {}
    assert (found.trace["canary"] != 0).all()
    assert_identical(found._replace(trace={}), plain)


def test_fleets_are_lone_models():
    spec = with_canaries(fleet_spec("mlp", 5))
    found = trained(spec, models_per_vmap=1)
    # Packs of three and of two: one model alone on a device is another program (WORKSPACE.md, rule 1).
    again = trained(spec, models_per_vmap=1, models_per_call=3, chunk_seconds=0, num_devices=1)
    assert_identical(found, again)
    for i in range(5):
        lone = jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], spec.members)
        one = dataclasses.replace(
            spec, names=spec.names[i : i + 1], members=lone, key_data=spec.key_data[i : i + 1]
        )
        state = trained(one, models_per_vmap=1)
        np.testing.assert_allclose(state.trace["canary"][0], found.trace["canary"][i], rtol=1e-3)
    together = trained(spec)
    np.testing.assert_allclose(
        together.trace["canary"], found.trace["canary"], rtol=1e-2, atol=1e-2
    )


def test_models_that_stop_early_see_no_more_steps():
    """And losses are watched beside it."""
    spec = with_canaries(fleet_spec("mlp", 2, epochs=4), (1, 0))
    members = spec.members._replace(
        last_epoch=np.float32([2, 2]), watched=np.tile(np.arange(3, dtype=np.int32), (2, 1))
    )
    learner = dataclasses.replace(spec.learner, trace_points=2)
    stopped = trained(dataclasses.replace(spec, members=members, learner=learner))
    short = dataclasses.replace(
        spec.learner, recipe=dataclasses.replace(spec.learner.recipe, epochs=2)
    )
    expected = trained(dataclasses.replace(spec, learner=short))
    assert stopped.trace["loss"].shape == (2, 2, 3)
    np.testing.assert_allclose(stopped.trace["canary"], expected.trace["canary"], rtol=1e-3)
    shapes = epoch.template(spec.learner, spec.features, canary=True).trace
    assert set(shapes) == {"canary", "others"} == set(expected.trace)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"privacy": None}, "a gradient canary without DP-SGD: there are no noisy sums"),
        ({"canary": np.float32([1, 0.5])}, "a gradient canary is 0.5, expected 1 .inserted. or 0"),
        ({"canary": np.float32([np.nan, 1])}, "a gradient canary is nan, expected"),
    ],
)
def test_bad_canaries_are_one_line(change, message):
    spec = with_canaries(fleet_spec("mlp", 2), (1, 0))
    with pytest.raises(InputError, match=message) as error:
        trained(dataclasses.replace(spec, members=spec.members._replace(**change)))
    assert "\n" not in str(error.value)


def audited(target, rate, models, steps, learning_rate, kernels=XLA):
    """The white-box check's own parts on a small fleet, at the noise that is accounted for a target."""
    spec = fleet_spec("mlp", 1)
    inserted = white_box.coins(0, 0, models)
    batch = round(60 * rate)
    epochs = steps // (60 // batch)
    # A program of its own for every test: what is patched is found when one is traced.
    recipe = dataclasses.replace(
        spec.learner.recipe, epochs=epochs, batch_size=batch, learning_rate=learning_rate
    )
    indices = np.tile(spec.members.indices, (models, 1))
    spec = dataclasses.replace(
        spec,
        names=[f"model {i}" for i in range(models)],
        learner=dataclasses.replace(spec.learner, recipe=recipe, kernels=kernels),
        members=spec.members._replace(indices=indices, size=np.full(models, 60, np.int32)),
        key_data=np.stack([np.arange(models), np.full(models, 5)], 1).astype(np.uint32),
    )
    noise = noise_for(target, rate, steps, 1e-5)
    # A clipping norm far above all gradients: others' are next to nothing beside the canary's.
    state = white_box.trained(
        spec,
        noise,
        100.0,
        rate,
        inserted,
        Execution(),
    )
    return noise, white_box.measured(state, inserted, 50)


@pytest.mark.parametrize(("rate", "steps"), [(1.0, 1), (0.2, 10)])
def test_what_is_shown_is_below_what_is_accounted_and_near_it(rate, steps):
    noise, row = audited(4, rate, 1500, steps, 1e-3)
    assert row["epsilon_thresholds"] <= 4
    assert row["epsilon_of_mu"] <= 4
    # Where records are sampled the sum is a weaker test than what is accounted for.
    assert row["epsilon_thresholds"] > (0.8 if rate == 1 else 0.1)
    expected = noise * math.sqrt(steps)
    mu = rate * steps / math.hypot(expected, math.sqrt(steps * rate * (1 - rate)))
    # At the median, 13 thresholds and 750 models: 0.13 of either bound, and chance.
    assert row["mu"] > mu - 0.45 > 0
    # Four standard errors.
    assert row["noise_deviation"] == pytest.approx(expected, rel=4 / math.sqrt(2 * 700))
    assert row["others_deviation"] < 0.1
    spread = expected * math.sqrt(4 / 1500)
    assert row["shift"] == pytest.approx(rate * steps, abs=4 * spread + 0.1)
    assert row["null_thresholds"] <= 0.05
    assert row["null_mu"] <= 0.05


@pytest.mark.parametrize(
    ("share", "measure"), [(0.5, "epsilon_of_mu"), (0.2, "epsilon_thresholds")]
)
def test_noise_that_is_too_small_is_caught(share, measure):
    """One step of all records is a plain Gaussian mechanism: its epsilon is exactly what is accounted."""
    less = XLA._replace(normals=lambda *given: share * jax.random.normal(*given))
    _, row = audited(1, 1.0, 1500, 1, 1e-3 * (1 + share), less)
    assert row[measure] > 1


def test_a_clip_that_does_not_hold_is_caught(monkeypatch):
    """A canary that enters twice has twice the sensitivity."""
    once = gradient_canary.added

    def twice(canary, taken, clip, grads):
        return once(canary, taken, clip, once(canary, taken, clip, grads))

    monkeypatch.setattr(gradient_canary, "added", twice)
    assert audited(1, 1.0, 1500, 1, 1.7e-3)[1]["epsilon_of_mu"] > 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--epsilons=0",), "--epsilons names 0, expected numbers above 0, or inf"),
        (("--rates=0.003",), "--rates names 0.003, expected numbers in"),
        (("--steps=15",), "--steps is 15, expected a multiple of an epoch's 10 at rate 0.1"),
        (("--clip=0",), "--clip is 0, expected a number above 0"),
        (("--members=6000",), "--members is 6000, location has 5010"),
    ],
)
def test_bad_flags_are_one_line(launch, flags, message):
    done = launch("benchmarks.checks.white_box", *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_small_check_writes_its_rows(launch, tmp_path):
    out = tmp_path / "rows.jsonl"
    small = ("--models=100", "--members=20", "--steps=2", "--rates=0.5", "--draws=2")
    done = launch("benchmarks.checks.white_box", *small, "--epsilons=4,inf", f"--out={out}")
    assert done.returncode == 0, done.stderr
    rows = json_lines.read(out)
    assert [row["epsilon"] is None for row in rows] == [False, True]
    assert 0 < rows[0]["epsilon"] <= 4
    assert rows[1]["noise_deviation"] < 1e-5


def test_the_page_has_the_rows_that_are_committed():
    page = (ROOT / "docs" / "defences.md").read_text()
    text = defences_page.white_box(ROOT / "results" / "defences")
    assert filled(page, defences_page.WHITE_BOX, text) == page


def test_committed_bounds_are_below_what_was_accounted():
    for row in json_lines.read(ROOT / "results" / "defences" / "white_box.jsonl"):
        accounted = math.inf if row["epsilon"] is None else row["epsilon"]
        assert row["epsilon_thresholds"] <= accounted
        assert row["epsilon_of_mu"] <= accounted
        assert max(row["null_thresholds"], row["null_mu"]) <= 0.05
