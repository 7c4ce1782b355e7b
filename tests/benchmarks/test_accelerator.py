"""The accelerator's benchmark on a CPU: it runs, counts rightly, and outlives every failure.  No timing."""

import importlib.util
import json
import math
import os
import time

import jax
import numpy as np
import pytest

from benchmarks.accelerator.accelerator import sentences
from benchmarks.accelerator.fleets import Case, Torch, counts_of, steps_per_model, turns
from benchmarks.accelerator.roofline import Counts, Peaks, layers, step_counts, used
from benchmarks.accelerator.sections import SECTIONS, SHARES, knee, wide_plan
from benchmarks.accelerator.session import (
    GRACE,
    SMOKE,
    Scale,
    Session,
    measure,
    read_run,
)
from benchmarks.harness import check_names
from jleaks.errors import InputError
from jleaks.models.networks import Computing
from jleaks.models.registry import NETWORKS
from jleaks.training.recipe import RECIPES, Recipe

# Programs are compiled anew, and need not be fast.
FLAGS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
MLP = Case("purchase", "purchase100", Recipe(epochs=400, batch_size=10), "native", 2, None, 40)


@pytest.mark.parametrize(
    ("recipe", "record", "classes"),
    [
        (Recipe(), (600,), 100),
        (Recipe("logistic"), (446,), 30),
        (RECIPES["wide"].recipe, (600,), 100),
        (Recipe("cnn"), (32, 32, 3), 10),
        (Recipe("cnn"), (28, 28, 1), 10),
    ],
)
def test_counts_are_those_of_the_network_and_of_xla(recipe, record, classes):
    module = NETWORKS[recipe.model].make(classes, recipe, Computing())
    shapes = jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, *record), np.float32))
    kernels = [leaf.size for leaf in jax.tree.leaves(shapes["params"]) if leaf.ndim > 1]
    biases = [leaf.size for leaf in jax.tree.leaves(shapes["params"]) if leaf.ndim == 1]
    found = layers(recipe, record, classes)
    assert sorted(layer.kernel for layer in found) == sorted(kernels)
    assert sorted(layer.bias for layer in found) == sorted(biases)
    counts = step_counts(recipe, record, math.prod(record), classes)
    moments = 1 if recipe.optimizer == "sgd" else 2
    assert counts.num_params == sum(kernels) + sum(biases)
    assert counts.state_bytes == 4 * (1 + moments) * counts.num_params

    def forward(x, params):
        return module.apply({"params": params}, x)

    x = jax.ShapeDtypeStruct((recipe.batch_size, *record), np.float32)
    cost = jax.jit(forward).lower(x, shapes["params"]).cost_analysis()
    products = 2 * recipe.batch_size * sum(layer.products for layer in found)
    # XLA counts no products with the border's zeros, but additions, comparisons and the like.
    assert products == pytest.approx(cost["flops"], rel=0.12)
    assert counts.flops == 3 * products - 2 * recipe.batch_size * found[0].products


def test_bytes_of_a_small_step_by_hand():
    # 3 inputs, 2 outputs, 5 records of 3 bytes, momentum.
    recipe = Recipe("logistic", batch_size=5, optimizer="sgd")
    counts = step_counts(recipe, (3,), 3, 2)
    kernel, params = 6, 8
    weights = params + (params - kernel) + params + (params * 3 + params * 2)
    activations = 3 * 5 * 3 + 5 * 5 * 2
    assert counts.num_bytes == 4 * (weights + activations) + 5 * 3
    assert counts.flops == 2 * (2 * 5 * 6)
    with pytest.raises(InputError, match="no counts for wrn28_2"):
        layers(Recipe("wrn28_2"), (32, 32, 3), 10)


def test_the_longer_of_two_bounds_binds():
    counts = Counts(1000, 100, 1, 1)
    peaks = Peaks({"float32": 1e6}, 1e6)
    found = used(counts, "float32", 500.0, peaks)
    assert (found["flops_per_second"], found["bytes_per_second"]) == (5e5, 5e4)
    assert (found["roofline"], found["share_of_roofline"]) == ("compute", 0.5)
    found = used(counts._replace(num_bytes=2000), "float32", 500.0, peaks)
    assert (found["roofline"], found["share_of_roofline"]) == ("memory", 1.0)
    found = used(counts, "bfloat16", 500.0, peaks)
    assert (found["share_of_flops"], found["roofline"]) == (None, None)


def test_a_whole_training_has_the_papers_steps():
    assert steps_per_model(MLP._replace(recipe=Recipe())) == 50 * 100
    plan = wide_plan(Scale(), "bfloat16")
    assert (plan.num_models, plan.num_candidates, plan.recipe.hidden) == (256, 50_000, (1024, 512))
    plan.validate()
    case = Case("wide", plan.task, plan.recipe, "native", 256, None, 25_000)
    assert steps_per_model(case) == 100 * (25_000 // 128)
    assert counts_of(case).num_params == 600 * 1024 + 1024 + 1024 * 512 + 512 + 512 * 100 + 100


def test_sections_have_shares():
    assert SECTIONS.keys() == SHARES.keys()


@pytest.fixture
def session(tmp_path):
    def make(seconds=100.0):
        context = {"run": "now"}
        path = str(tmp_path / "rows.jsonl")
        return Session(SMOKE, ["bfloat16"], path, context, time.time(), seconds, False), path

    return make


def test_failures_become_rows_and_the_rest_goes_on(session):
    one, path = session()

    def broken():
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nmore lines")

    assert one.guarded({"what": "fleet", "section": "a"}, broken) is None
    assert one.guarded({"what": "fleet", "section": "b"}, lambda: {"value": 1})["value"] == 1
    first, second = read_run(path, "now")
    assert first["failed"] == "RuntimeError: RESOURCE_EXHAUSTED: out of memory"
    assert (second["section"], second["value"]) == ("b", 1)
    assert read_run(path, "then") == []


def test_what_has_no_time_is_counted(session):
    one, path = session(seconds=0.0)
    one.run({"peaks": lambda s: [s.guarded({"what": "peak"}, dict) for _ in range(3)]}, [])
    (row,) = read_run(path, "now")
    assert row["failed"] == "out of time: 3 measurements were left out"
    assert sentences([row]) == [f"peaks: left out failed: {row['failed']}"]


def test_a_process_that_takes_too_long_is_stopped():
    assert measure({"sections": ["peaks"], "seconds": -GRACE}) == "stopped after 0 s"


def test_a_process_that_breaks_is_a_reason(tmp_path):
    request = {"sections": ["peaks"], "seconds": 60, "smoke": True, "path": str(tmp_path / "rows")}
    assert measure(request) == "status 1: KeyError: 'precisions'"


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="there is an accelerator")
def test_without_an_accelerator_it_says_so():
    with pytest.raises(InputError, match="JAX sees no accelerator; --smoke runs everything small"):
        measure({"sections": ["peaks"], "seconds": 60, "smoke": False})


def test_the_knee_is_the_fewest_models_near_the_best(session):
    one, path = session()
    about = {"task": "t", "network": "mlp-128", "precision": "float32", "form": None}
    rates = {1: 10.0, 64: 96.0, 256: 100.0, 1024: 94.0}
    rows = [{**about, "num_models": m, "model_steps_per_second": r} for m, r in rates.items()]
    knee(one, "purchase", [*rows[::-1], None])
    (row,) = read_run(path, "now")
    assert (row["num_models"], row["best_model_steps_per_second"]) == (64, 100.0)
    assert row["measured"] == [1, 64, 256, 1024]


def test_a_session_of_two_sections_leaves_their_rows(launch, tmp_path):
    out = tmp_path / "rows.jsonl"
    flags = ["--smoke", "--sections=peaks,purchase", "--precisions=bfloat16", f"--out={out}"]
    done = launch("benchmarks.accelerator", *flags, env={**os.environ, "XLA_FLAGS": FLAGS})
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row for row in rows if "failed" in row] == []
    (fleet,) = (row for row in rows if row["what"] == "fleet")
    assert (fleet["network"], fleet["num_models"]) == ("mlp-128", 2)
    assert fleet["model_steps_per_second"] > 0


@pytest.mark.long
def test_smoke(launch, tmp_path):
    out = tmp_path / "rows.jsonl"
    done = launch(
        "benchmarks.accelerator", "--smoke", "--full",
        "--sections=peaks,purchase,wide,evaluator,torch,mnist",
        "--precisions=bfloat16", f"--out={out}", env={**os.environ, "XLA_FLAGS": FLAGS},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    has_torch = importlib.util.find_spec("torch") is not None
    failed = [row["what"] for row in rows if "failed" in row]
    assert failed == ([] if has_torch else ["ratio", "ratio"]), done.stdout
    assert {row["what"] for row in rows} == {
        *("peak", "start", "fleet", "knee", "best form", "extrapolated", "bank", "ratio"),
        *("evaluator", "traffic"),
    }
    fleets = [row for row in rows if row["what"] == "fleet"]
    assert [(r["section"], r["network"], r["num_models"]) for r in fleets] == [
        *(("purchase", "mlp-128", 2), ("wide", "mlp-16", 4)),
        # In turns, grouped, alone.
        *(("mnist", "cnn", 2), ("mnist", "cnn", 2), ("mnist", "cnn", 1)),
    ]
    for row in fleets:
        assert row["model_steps_per_second"] > 0
        assert row["roofline"] in ("compute", "memory")
        assert row["program_bytes"] > row["num_models"] * row["counts"]["state_bytes"]
        assert math.isfinite(row["loss"])
        assert row["smoke"]
        assert "--precisions=bfloat16" in row["command"]
    (bank,) = (row for row in rows if row["what"] == "bank")
    assert 0 <= bank["auc"]["lira_online"] <= 1
    assert bank["seconds"]["all"] >= bank["seconds"]["training"] > 0
    assert "knee at 2 of [2] models" in done.stdout
    for row in rows if has_torch else []:
        if row["what"] == "ratio":
            ratio = row["times_torch"]["eager"]
            assert 0 < ratio["least"] <= ratio["median"] <= ratio["largest"]
            if row["device"].startswith("cpu"):
                assert row["without"] == {"graphed": "RuntimeError: CUDA graphs need a GPU"}


def test_without_pytorch_there_is_a_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    found = turns(MLP, Torch(), 0.001, 1)
    assert found["failed"].count("torch is not installed") == 2


def test_unknown_names_are_bad_input():
    with pytest.raises(InputError, match="--sections names gpu; allowed: peaks, "):
        check_names("sections", ["peaks", "gpu"], tuple(SHARES))
    with pytest.raises(InputError, match="--precisions names nothing"):
        check_names("precisions", [], ("float32",))
