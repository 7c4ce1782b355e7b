"""Narrow operands of products: against rounding by hand and float64, forward and backward, wherever they run."""

import dataclasses
import functools
import json
import re
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fleets import crew
from kernels import needs_compiler
from test_convolution import naive_convolution
from test_fleet import assert_close, assert_identical, trained

from benchmarks import precision as benchmark
from jleaks import convolution, train
from jleaks.bank.plan import BankPlan
from jleaks.convolution import convolve, multiply, rounded
from jleaks.errors import InputError
from jleaks.plan import Execution, Plan, Precision, Recipe
from jleaks.train import Batch, Learner, Members

# Bits of mantissa, the implicit one excluded.
BITS = {"tensorfloat32": 10, "bfloat16": 7}
FORMS = ("native", "im2col", "rows", "products")
narrow = pytest.mark.parametrize("name", BITS)


def by_hand(x, name):
    """Rounds float32 to the nearest, ties to even, on the bits as integers."""
    cut = 23 - BITS[name]
    words = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    half, last = np.uint64(1 << (cut - 1)), (words >> np.uint64(cut)) & np.uint64(1)
    words = (words + half - np.uint64(1) + last) & ~np.uint64((1 << cut) - 1)
    return words.astype(np.uint32).view(np.float32)


def wide(x, name):
    return by_hand(x, name).astype(np.float64)


def relative(found, expected):
    return np.linalg.norm(np.float64(found) - expected) / np.linalg.norm(expected)


@narrow
def test_rounding_is_to_the_nearest_and_ties_to_even(rng, name):
    x = (rng.normal(size=5000) * 10.0 ** rng.integers(-20, 20, 5000)).astype(np.float32)
    step = 2.0 ** -BITS[name]
    ties = np.float32([1 + step / 2, 1 + 3 * step / 2, -1 - step / 2, 1 + step / 2 * 1.01, 0, -2])
    x = np.concatenate([x, ties])
    found = np.asarray(jax.jit(functools.partial(rounded, narrow=name))(x))
    np.testing.assert_array_equal(found, by_hand(x, name))
    np.testing.assert_array_equal(found[-6:], [1, 1 + 2 * step, -1, 1 + step, 0, -2])
    np.testing.assert_array_equal(rounded(found, name), found)
    assert 0.1 < np.abs(found / x - 1)[:-2].max() * 2 ** BITS[name] <= 0.5


@narrow
def test_products_and_their_gradients_have_both_operands_rounded(rng, name):
    x, w, dy = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((3, 20, 70), (3, 70, 11), (3, 20, 11))
    )

    @jax.jit
    @jax.vmap
    def products(x, w, dy):
        y, pullback_fn = jax.vjp(functools.partial(multiply, precision=name), x, w)
        return y, *pullback_fn(dy)

    found = products(x, w, dy)
    a, b, c = (wide(v, name) for v in (x, w, dy))
    expected = a @ b, c @ b.swapaxes(1, 2), a.swapaxes(1, 2) @ c
    exact = x @ w, dy @ w.swapaxes(1, 2), x.swapaxes(1, 2) @ dy
    for ours, theirs, unrounded in zip(found, expected, exact, strict=True):
        assert ours.dtype == jnp.float32
        assert relative(ours, theirs) < 1e-6
        # Rounding was not optimised away, and is of that format.
        assert 0.1 < relative(ours, np.float64(unrounded)) * 2 ** BITS[name] < 1
        # Sums are not rounded.
        assert (by_hand(ours, name) != np.asarray(ours)).mean() > 0.9


@narrow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("padding", "strides"), [("SAME", 1), ("VALID", 2)])
def test_convolutions_and_their_gradients_have_both_operands_rounded(
    rng, name, form, padding, strides
):
    x = rng.normal(size=(2, 8, 9, 3)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 3, 5)).astype(np.float32)

    def by(precision, form):
        return lambda x, k: convolve(x, k, padding, form, precision, strides)

    y, pullback_fn = jax.vjp(by(name, form), x, kernel)
    expected = naive_convolution(wide(x, name), wide(kernel, name), padding, strides)
    assert relative(y, expected) < 1e-6
    assert relative(y, naive_convolution(x, kernel, padding, strides)) * 2 ** BITS[name] > 0.1
    dy = rng.normal(size=y.shape).astype(np.float32)
    _, reference = jax.vjp(by("float32", "native"), by_hand(x, name), by_hand(kernel, name))
    for ours, theirs in zip(pullback_fn(dy), reference(by_hand(dy, name)), strict=True):
        assert ours.dtype == jnp.float32
        assert relative(ours, np.float64(theirs)) < 1e-6


def with_precision(c, name, **changes):
    recipe = dataclasses.replace(c.learner.recipe, precision=name)
    return dataclasses.replace(c, learner=dataclasses.replace(c.learner, recipe=recipe, **changes))


def lowered(learner, shape, platform):
    """A step's gradient as XLA for that platform receives it."""
    data = train.Data(
        *(jax.ShapeDtypeStruct(s, d) for s, d in (((20, *shape), np.uint8), ((20,), "i4")))
    )
    members = Members(jax.ShapeDtypeStruct((20,), "i4"), jax.ShapeDtypeStruct((), "i4"))
    key = jax.eval_shape(lambda: jax.random.key(0))
    init = functools.partial(train.init, learner, mask=None)
    state = jax.eval_shape(lambda d, m, k: init(d, m, key=k), data, members, key)
    step = jax.jit(functools.partial(train.gradient, learner))
    batch = Batch(data.features, data.labels)
    return step.trace(state, batch).lower(lowering_platforms=(platform,)).as_text()


def products_of(text):
    return re.findall(r"stablehlo\.(?:dot_general|convolution).*", text)


# Of the paper's networks: two products of the first layer, three of every other.
@pytest.mark.parametrize("form", ["native", "rows"])
@pytest.mark.parametrize(("model", "shape", "count"), [("mlp", (20,), 5), ("cnn", (12, 12, 3), 11)])
def test_what_accelerators_are_asked_for(model, shape, count, form):
    def asked(name, platform):
        learner = with_precision(crew(model, 1, form=form), name).learner
        text = lowered(learner, shape, platform)
        return text, products_of(text)

    for platform in ("cuda", "tpu", "cpu"):
        text, found = asked("bfloat16", platform)
        dots = [line for line in found if line.startswith("stablehlo.dot_general")]
        assert len(found) >= count
        # XLA drops the products nobody asks for: the gradient of the records.
        assert len(dots) >= (5 if form == "native" else count)
        for line in dots:
            assert re.search(r"\(tensor<\w+xbf16>, tensor<\w+xbf16>\) -> tensor<\w+xf32>", line), (
                line
            )
        for line in set(found) - set(dots):
            assert "xbf16" not in line
            assert "HIGH" not in line
        assert text.count("format = e8m7") >= 2 * len(found) / 3
        text, found = asked("tensorfloat32", platform)
        assert "bf16" not in text
        for line in found:
            # jax.lax's name for TF32 units; not HIGHEST.
            assert re.search(r"HIGH>?, .*HIGH\b", line), line
        assert text.count("format = e8m10") >= 2 * len(found) / 3
        for name in ("float32", "default"):
            text, found = asked(name, platform)
            assert len(found) >= count
            assert "reduce_precision" not in text
            assert all(("HIGHEST" in line) == (name == "float32") for line in found)


def test_older_plans_keep_their_fingerprints():
    """Of commit d3cca75; a change here means that finished runs are no longer recognised."""
    found = {}
    for name in typing.get_args(Precision):
        recipe = Recipe(precision=name)
        plans = (
            Plan(("location",), (2,), target=recipe),
            BankPlan("location", 8, 4000, 500, recipe=recipe),
        )
        found[name] = tuple(plan.fingerprint() for plan in plans)
    assert found["default"] == ("aae6cbf9e7d96462", "d0dce1dba3e56528")
    assert found["float32"] == ("1ab2a059d089fb5d", "7342e6cdb279fbb5")
    assert len(set(found.values())) == 4


@narrow
def test_everything_outside_of_products_stays_float32(name):
    state = trained(with_precision(crew("mlp", 2), name))
    for leaf in jax.tree.leaves((state.params, state.opt_state, state.losses)):
        assert leaf.dtype in (np.float32, np.int32)
    for leaf in jax.tree.leaves(state.params):
        assert (by_hand(leaf, name) != leaf).mean() > 0.9


@pytest.fixture(scope="module")
def mlps():
    """A fleet in every format."""
    found = {}
    for name in typing.get_args(Precision):
        found[name] = trained(with_precision(crew("mlp", 4), name), models_per_vmap=1)
    return found


def test_formats_train_different_models(mlps):
    def apart(name):
        pairs = zip(*(jax.tree.leaves(mlps[n].params) for n in (name, "float32")), strict=True)
        return max(relative(ours, np.float64(theirs)) for ours, theirs in pairs)

    # On CPU the backend's own format is float32.
    assert apart("default") < 1e-6
    assert 1e-5 < apart("tensorfloat32") < 0.02
    assert 2 * apart("tensorfloat32") < apart("bfloat16") < 0.5


@narrow
def test_fleets_of_narrow_formats_do_not_depend_on_devices_and_turns(mlps, name):
    c = with_precision(crew("mlp", 4), name)
    assert_close(trained(c, num_devices=3, models_per_vmap=2), mlps[name])
    assert_identical(
        trained(c, num_devices=2, models_per_call=2, models_per_vmap=1, chunk_seconds=0), mlps[name]
    )


@narrow
def test_one_step_is_the_same_in_every_form_of_convolution(name):
    """Later ones are not: another order of sums now and then rounds an operand to its other neighbour."""
    c = with_precision(crew("cnn", 1), name)
    data = train.Data(jnp.asarray(c.features), jnp.asarray(c.labels))
    members = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), c.members)
    state = jax.jit(train.init, static_argnums=0)(c.learner, data, members, jax.random.key(0), None)
    step = jax.jit(train.gradient, static_argnums=0)
    batch = Batch(data.features[:20], data.labels[:20])
    _, reference, _ = step(dataclasses.replace(c.learner, form="native"), state, batch)
    exact, _ = (
        step(dataclasses.replace(with_precision(c, "float32").learner), state, batch)[i]
        for i in (1, 2)
    )
    for form in ("im2col", "rows"):
        _, found, _ = step(dataclasses.replace(c.learner, form=form), state, batch)
        assert_close(found, reference, 0.2 * 2.0 ** -BITS[name])
    apart = [
        relative(a, np.float64(b))
        for a, b in zip(jax.tree.leaves(reference), jax.tree.leaves(exact), strict=True)
    ]
    assert max(apart) > 0.2 * 2.0 ** -BITS[name]


@needs_compiler
@pytest.mark.usefixtures("kernels")
def test_host_kernels_serve_float32_and_leave_narrow_formats_to_xla():
    def calls(name, model="cnn"):
        learner = with_precision(crew(model, 1), name, kernels="host").learner
        shape = (12, 12, 3) if model == "cnn" else (20,)
        return set(re.findall(r"jleaks_\w+", lowered(learner, shape, "cpu")))

    layers = {"jleaks_dense_forward", "jleaks_convolution_forward", "jleaks_convolution_gradients"}
    assert layers <= calls("float32") & calls("default")
    for name in BITS:
        assert calls(name) == {"jleaks_cross_entropy"}
        for model in ("mlp", "logistic"):
            c = with_precision(crew("mlp", 2, epochs=2), name)
            c = dataclasses.replace(
                c,
                learner=dataclasses.replace(
                    c.learner, recipe=dataclasses.replace(c.learner.recipe, model=model)
                ),
            )
            on_host = dataclasses.replace(c, learner=dataclasses.replace(c.learner, kernels="host"))
            assert_close(trained(on_host).params, trained(c).params)


def test_unknown_formats_are_bad_input(launch):
    plan = Plan(("location",), (1,), target=Recipe(precision="float16"))
    with pytest.raises(InputError, match="target precision is float16, expected one of float32, "):
        plan.validate()
    done = launch("launch.bank", "--precision=float16", "--num_models=4")
    assert done.returncode == 2
    assert "bfloat16" in done.stderr
    for formats, message in ((["float32"], "compared with"), (["half"], "precision is half")):
        with pytest.raises(InputError, match=message):
            benchmark.contenders(formats, Recipe(), Execution())
    done = launch("benchmarks.precision", "--tasks=", "--banks=")
    assert (done.returncode, done.stderr) == (2, "error: --tasks and --banks name nothing\n")


def test_flags_name_every_format(launch):
    done = launch("launch.sweep", "--help")
    text = done.stdout.split("--precision")[1].split("--")[0]
    assert all(name in text for name in typing.get_args(Precision)), text


def test_differences_are_paired():
    first = {("adversary 1", "auc"): [0.5, 0.7, None]}
    other = {("adversary 1", "auc"): [0.6, 0.7, 0.9]}
    (record,) = benchmark.compared(first, other)
    assert record["reference"] == pytest.approx(0.6)
    assert (record["difference"], record["largest"], record["n"]) == (0.05, 0.1, 2)
    # t of one degree of freedom, 12.706, times 0.1 / 2.
    assert (record["high"] - record["low"]) / 2 == pytest.approx(12.7062 * 0.05, rel=1e-4)


def test_the_benchmark_leaves_a_row_per_metric(launch, tmp_path):
    out = tmp_path / "precision.jsonl"
    sizes = ("--num_seeds=2", "--num_models=4", "--scale=0.01", "--epochs=1", "--attacks=loss")
    done = launch(
        "benchmarks.precision", "--tasks=location", "--precisions=bfloat16", *sizes, f"--out={out}"
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {r["precision"] for r in rows} == {"float32, other order", "bfloat16"}
    assert len(rows) == 2 * (5 + 5)
    assert {(r["attack"], r["n"]) for r in rows} == {
        *(("target", 2), ("adversary 1", 2), ("model", 4), ("loss", 4))
    }
    for row in rows:
        assert row["source"] == "synthetic"
        assert row["low"] <= row["difference"] <= row["high"]
        assert row["difference"] == pytest.approx(row["mean"] - row["reference"], abs=2e-6)
    changed = {
        r["precision"]
        for r in rows
        if (r["attack"], r["metric"]) == ("loss", "auc") and r["largest"]
    }
    assert "bfloat16" in changed
    assert "tpr_at_fpr_0.001" in done.stdout


def test_the_formats_of_plans_are_those_of_products():
    assert set(BITS) == set(typing.get_args(convolution.Narrow))
    assert set(typing.get_args(Precision)) == {"default", "float32", *BITS}
    for name in typing.get_args(Precision):
        how = Learner(Recipe(precision=name), "binary", 3, kernels="host").module.how
        assert (how.precision or "default") == name
        assert how.on_host == (name not in BITS)
