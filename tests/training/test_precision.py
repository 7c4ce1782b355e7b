"""Narrow operands of products: against rounding by hand and float64, forward and backward."""

import dataclasses
import functools
import json
import re
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fleets import assert_close, assert_identical, fleet_spec, trained
from naive_convolution import naive_convolution

from benchmarks.checks.precision import compared, contenders
from jleaks.errors import InputError
from jleaks.experiments.bank_plan import BankPlan
from jleaks.experiments.plan import Plan
from jleaks.fields import Precision
from jleaks.models import convolution
from jleaks.models.convolution import convolve, multiply, rounded
from jleaks.models.kernels import CPU, XLA
from jleaks.training import epoch
from jleaks.training import step as step_lib
from jleaks.training.execution import Execution
from jleaks.training.learner import Batch, Data, Learner, Members
from jleaks.training.recipe import Recipe

# Bits of mantissa, the implicit one excluded.
BITS = {"tensorfloat32": 10, "bfloat16": 7}
FORMS = ("native", "im2col", "rows", "products", "columns")
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
    assert 0.1 < np.abs(found[:-2] / x[:-2] - 1).max() * 2 ** BITS[name] <= 0.5


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
def test_convolutions_and_their_gradients_have_both_operands_rounded(rng, name, form):
    padding, strides = ("VALID", 2) if form in ("rows", "products") else ("SAME", 1)
    x = rng.normal(size=(2, 8, 9, 3)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 3, 5)).astype(np.float32)

    def by(precision, form):
        def products(x, kernel, dy):
            convolved_fn = functools.partial(
                convolve, padding=padding, form=form, precision=precision, strides=strides
            )
            y, pullback_fn = jax.vjp(convolved_fn, x, kernel)
            return y, *pullback_fn(dy)

        return jax.jit(products)

    expected = naive_convolution(wide(x, name), wide(kernel, name), padding, strides)
    exact = naive_convolution(x, kernel, padding, strides)
    dy = rng.normal(size=exact.shape).astype(np.float32)
    y, *gradients = by(name, form)(x, kernel, dy)
    assert relative(y, expected) < 1e-6
    assert relative(y, exact) * 2 ** BITS[name] > 0.1
    _, *reference = by("float32", "native")(*(by_hand(v, name) for v in (x, kernel, dy)))
    for ours, theirs in zip(gradients, reference, strict=True):
        assert ours.dtype == jnp.float32
        assert relative(ours, np.float64(theirs)) < 1e-6


def with_precision(c, name, **changes):
    recipe = dataclasses.replace(c.learner.recipe, precision=name)
    return dataclasses.replace(c, learner=dataclasses.replace(c.learner, recipe=recipe, **changes))


def lowered(learner, shape, platform):
    """A step's gradient as XLA for that platform receives it."""
    data = Data(*(jax.ShapeDtypeStruct(s, d) for s, d in (((20, *shape), np.uint8), ((20,), "i4"))))
    members = Members(jax.ShapeDtypeStruct((20,), "i4"), jax.ShapeDtypeStruct((), "i4"))
    key = jax.eval_shape(lambda: jax.random.key(0))
    init = functools.partial(epoch.init, learner, mask=None)
    state = jax.eval_shape(lambda d, m, k: init(d, m, key=k), data, members, key)
    step = jax.jit(functools.partial(step_lib.gradient, learner))
    batch = Batch(data.features, data.labels)
    return step.trace(state, batch).lower(lowering_platforms=(platform,)).as_text()


def products_of(text):
    return re.findall(r"stablehlo\.(?:dot_general|convolution).*", text)


# Of the paper's networks: two products of the first layer, three of every other.
@pytest.mark.parametrize(
    ("model", "shape", "form", "count"),
    [
        ("mlp", (20,), "native", 5),
        ("cnn", (12, 12, 3), "native", 11),
        ("cnn", (12, 12, 3), "rows", 11),
    ],
)
def test_what_accelerators_are_asked_for(model, shape, form, count):
    def asked(name, platform):
        learner = with_precision(fleet_spec(model, 1, form=form), name).learner
        text = lowered(learner, shape, platform)
        return text, products_of(text)

    for platform in ("cuda", "cpu") if form == "rows" else ("cuda", "tpu"):
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


def test_formats_have_their_own_fingerprints():
    found = {}
    for name in typing.get_args(Precision):
        recipe = Recipe(precision=name)
        plans = (
            Plan(("location",), (2,), target=recipe),
            BankPlan("location", 8, 4000, 500, recipe=recipe),
        )
        found[name] = tuple(plan.fingerprint() for plan in plans)
    assert len(set(found.values())) == 4


@pytest.fixture(scope="module")
def mlps():
    """A fleet in every format that is one."""
    return {
        name: trained(with_precision(fleet_spec("mlp", 4), name), models_per_vmap=1)
        for name in ("float32", *BITS)
    }


@narrow
def test_everything_outside_of_products_stays_float32(mlps, name):
    state = mlps[name]
    for leaf in jax.tree.leaves((state.params, state.opt_state, state.losses)):
        assert leaf.dtype in (np.float32, np.int32)
    for leaf in jax.tree.leaves(state.params):
        assert (by_hand(leaf, name) != leaf).mean() > 0.9


def test_formats_train_different_models(mlps):
    def apart(name):
        pairs = zip(*(jax.tree.leaves(mlps[n].params) for n in (name, "float32")), strict=True)
        return max(relative(ours, np.float64(theirs)) for ours, theirs in pairs)

    assert 1e-5 < apart("tensorfloat32") < 0.02
    assert 2 * apart("tensorfloat32") < apart("bfloat16") < 0.5


@pytest.mark.usefixtures("kernels")
def test_host_kernels_serve_float32_and_leave_narrow_formats_to_xla(mlps):
    def calls(name, model, shape):
        learner = with_precision(fleet_spec(model, 1), name, kernels=CPU).learner
        return set(re.findall(r"jleaks_\w+", lowered(learner, shape, "cpu")))

    layers = {"jleaks_dense_forward", "jleaks_convolution_forward", "jleaks_convolution_gradients"}
    image = (12, 12, 3)
    assert layers <= calls("float32", "cnn", image) & calls("default", "cnn", image)
    for name in BITS:
        assert calls(name, "cnn", image) == calls(name, "mlp", (20,)) == {"jleaks_cross_entropy"}
    c = with_precision(fleet_spec("mlp", 4), "bfloat16", kernels=CPU)
    # On other devices, and two at a time.
    found = trained(c, num_devices=3, models_per_vmap=2)
    assert_close(found.params, mlps["bfloat16"].params)


def test_unknown_formats_are_bad_input(launch):
    plan = Plan(("location",), (1,), target=Recipe(precision="float16"))
    with pytest.raises(InputError, match="target precision is float16, expected one of float32, "):
        plan.validate()
    done = launch("launch.bank", "--precision=float16", "--num_models=4")
    assert done.returncode == 2
    # The flag's own list of what is allowed.
    assert all(name in done.stderr for name in typing.get_args(Precision)), done.stderr


def test_whom_the_benchmark_compares():
    execution = Execution(kernels="host")
    found = contenders(["bfloat16", "default"], Recipe("cnn"), execution)
    assert [c.recipe.precision for c in found] == ["float32", "float32", "bfloat16", "default"]
    assert len({c.name for c in found}) == 4
    assert found[1].execution == dataclasses.replace(execution, records_per_block=50)
    assert [c.execution.kernels for c in found] == ["host", "host", "xla", "host"]
    # A batch that is normalised as a whole cannot be added up in halves.
    assert len(contenders(["bfloat16"], Recipe("wrn28_2"), execution)) == 2
    for formats, message in (
        (["float32"], "names float32, which"),
        (["bfloat16", "bfloat16"], "names bfloat16, which"),
        (["half"], "precision is half, expected one of"),
    ):
        with pytest.raises(InputError, match=message):
            contenders(formats, Recipe(), execution)


def test_differences_are_paired():
    first = {("adversary 1", "auc"): [0.5, 0.7, None]}
    other = {("adversary 1", "auc"): [0.6, 0.7, 0.9]}
    (record,) = compared(first, other)
    assert record["reference"] == pytest.approx(0.6)
    assert (record["difference"], record["largest"], record["n"]) == (0.05, 0.1, 2)
    # t of one degree of freedom, 12.706, times 0.1 / 2.
    assert (record["high"] - record["low"]) / 2 == pytest.approx(12.7062 * 0.05, rel=1e-4)


def test_the_benchmark_leaves_a_row_per_metric(launch, tmp_path):
    out = tmp_path / "precision.jsonl"
    sizes = ("--num_seeds=2", "--num_models=4", "--scale=0.01", "--epochs=1", "--attacks=loss")
    done = launch(
        "benchmarks.checks.precision", "--tasks=location", "--precisions=bfloat16", *sizes, f"--out={out}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {r["precision"] for r in rows} == {"float32, other order", "bfloat16"}
    assert len(rows) == 2 * (5 + 5)
    # An attack model that calls nobody a member has no precision to compare.
    most = {r["attack"]: max(s["n"] for s in rows if s["attack"] == r["attack"]) for r in rows}
    assert most == {"target": 2, "adversary 1": 2, "model": 4, "loss": 4}
    for row in rows:
        assert row["source"] == "synthetic"
        if row["n"] > 1:
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
        how = Learner(Recipe(precision=name), "binary", 3, kernels=CPU).module.how
        assert (how.precision or "default") == name
        assert how.layers is (XLA if name in BITS else CPU)


@pytest.mark.parametrize("narrow", ["tensorfloat32", "bfloat16"])
@pytest.mark.parametrize(
    ("model", "form"), [("mlp", "products"), ("cnn", "columns"), ("cnn", "native")]
)
def test_kernels_rounded_as_they_are_updated_train_the_same_models(model, form, narrow):
    c = fleet_spec(model, 3, ragged=True, form=form, block=10)
    recipe = dataclasses.replace(c.learner.recipe, precision=narrow, l2=1e-3)
    learner = dataclasses.replace(c.learner, recipe=recipe)
    once = dataclasses.replace(learner, rounds_once=True)
    one, other = (trained(dataclasses.replace(c, learner=each)) for each in (learner, once))
    assert_identical(one, other)


def test_a_penalty_on_weights_is_one_on_those_that_are_not_rounded():
    c = fleet_spec("mlp", 3)
    members = c.members._replace(decay=np.full(3, 0.01, np.float32))
    recipe = dataclasses.replace(c.learner.recipe, precision="tensorfloat32")
    found = [
        trained(dataclasses.replace(
            c, members=members, learner=dataclasses.replace(c.learner, recipe=recipe, rounds_once=once)
        ))
        for once in (False, True)
    ]  # fmt: skip
    assert_identical(*found)
