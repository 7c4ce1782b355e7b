"""The training benchmark: its contenders take jleaks' steps, its rows are complete.  Nothing is timed."""

import dataclasses
import functools
import json
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.training import training
from benchmarks.training import workload as workload_lib
from benchmarks.training.training import COMMAND, Job, make_row, training_table
from benchmarks.training.workload import (
    BATCH,
    CONTENDERS,
    EPOCHS,
    NETWORKS,
    Workload,
    flops_per_step,
    kernel_shapes,
    make_workload,
    multiply_adds,
    time_group,
    train_groups,
)
from jleaks.data.tasks import TASKS
from jleaks.errors import InputError
from jleaks.keys import Role, identity_key
from jleaks.models import networks, registry
from jleaks.training import epoch, packing
from jleaks.training import step as step_lib
from jleaks.training.learner import Batch, Data, Learner, Members
from jleaks.training.recipe import Recipe

FIELDS = {
    *("benchmark", "network", "contender", "num_models", "flops_per_model_step", "failed"),
    *("measured_models", "measured_steps", "extrapolated", "model_steps_per_second"),
    *("microseconds_per_model_step", "gflops", "gemm_gflops", "share_of_gemm", "models_per_hour"),
    *("first_call_seconds", "peak_megabytes", "times_torch_fused", "times_best_stacked_torch"),
    *("quality", "num_records", "source", "turns", "command", "cpu", "cores", "load_before"),
    *("commit", "device", "versions"),
}


def test_operations_are_those_counted_by_hand():
    assert multiply_adds(TASKS["location"]) == [446 * 128, 128 * 30]
    # Answer and gradients of 57,088 + 3,840 weights, and of the hidden layer's 3,840 again.
    assert flops_per_step(TASKS["location"]) == 200 * (2 * 60_928 + 3_840)
    # Along an axis 28 places of 5 elements, 2 + 1 of them beyond either border; then 14 - 4 places.
    assert multiply_adds(TASKS["mnist"]) == [
        *((28 * 5 - 6) ** 2 * 32, (10 * 5) ** 2 * 32 * 32),
        *(5 * 5 * 32 * 128, 128 * 10),
    ]
    first, *others = multiply_adds(TASKS["cifar10"])
    assert first == (32 * 5 - 6) ** 2 * 3 * 32
    assert others == [(12 * 5) ** 2 * 32 * 32, 6 * 6 * 32 * 128, 1280]
    assert flops_per_step(TASKS["cifar10"]) == 200 * (2 * first + 3 * sum(others))


@pytest.mark.parametrize("network", ["purchase_mlp", "cifar_cnn"])
def test_operations_are_those_that_xla_counts(network):
    task = NETWORKS[network].describe()
    module = registry.NETWORKS[task.model].make(
        task.num_classes, Recipe(task.model), networks.Computing()
    )
    records = jax.ShapeDtypeStruct((BATCH, *task.feature_shape), np.float32)
    params = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros(records.shape)))
    kernels = {leaf.shape for leaf in jax.tree.leaves(params) if leaf.ndim > 1}
    assert kernels == set(kernel_shapes(task))
    forward = jax.jit(module.apply).lower(params, records).cost_analysis()["flops"]
    necessary = 2 * BATCH * sum(multiply_adds(task))
    # XLA also counts biases, activations and pooling.
    assert necessary <= forward <= 1.05 * necessary
    learner = Learner(Recipe(task.model), task.encoding, task.num_classes)
    step = packing.measure(learner, records, BATCH).flops_per_epoch
    assert flops_per_step(task) <= step <= 1.1 * flops_per_step(task)


# The paper's CNN on images small enough for a test.
_SMALL = dataclasses.replace(TASKS["mnist"], feature_shape=(16, 16, 2))


@pytest.fixture(autouse=True)
def _small_cnn(monkeypatch):
    monkeypatch.setitem(NETWORKS, "small_cnn", types.SimpleNamespace(describe=lambda: _SMALL))


def _workload(network: str) -> Workload:
    """Random records of a network's shape, two models on overlapping halves."""
    task, rng = NETWORKS[network].describe(), np.random.default_rng(5)
    highest = 256 if task.encoding == "pixels" else 2
    return Workload(
        network,
        rng.integers(0, highest, (400, *task.feature_shape)).astype(np.uint8),
        rng.integers(0, task.num_classes, 400).astype(np.int32),
        np.stack([rng.permutation(300)[:200] for _ in range(2)]).astype(np.int32),
        np.arange(300, 400, dtype=np.int32),
    )


@functools.cache
def _expected(network: str):
    """Weights, positions in the training parts [models, steps, B], and losses of jleaks' own steps."""
    task, workload = NETWORKS[network].describe(), _workload(network)
    recipe = Recipe(task.model, (128,), EPOCHS, BATCH, 1e-3, l2=0.0)
    learner = Learner(recipe, task.encoding, task.num_classes)
    data = Data(jnp.asarray(workload.features), jnp.asarray(workload.labels))
    order = np.random.default_rng(6).integers(0, 200, (2, 3, BATCH))

    @jax.jit
    def step(state, rows):
        batch = Batch(data.features[rows], data.labels[rows])
        return step_lib.step(learner, state, batch, jnp.float32(1), jnp.bool_(True))[::-1]

    init, weights, losses = jax.jit(epoch.init, static_argnums=0), [], []
    for model in range(2):
        members = Members(workload.members[model], np.array(200, np.int32))
        key = identity_key(0, task.name, Role.SHADOW, model)
        state = init(learner, data, members, key, None)
        # Of each layer, in the order of the layers' names: bias, kernel.
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state.params)]
        weights.append(list(zip(leaves[1::2], leaves[::2], strict=True)))
        losses.append([])
        for at in order[model]:
            state, loss = step(state, workload.members[model][at])
            losses[-1].append(float(loss))
    return weights, order, np.array(losses)


@pytest.mark.parametrize(
    ("network", "per_call", "count"),
    [
        *(("location_mlp", per_call, count) for per_call in (1, 3) for count in (1, 2)),
        # XLA is very slow at convolutions in scans.
        ("small_cnn", 1, 1),
    ],
)
def test_jax_takes_the_steps_of_jleaks(network, per_call, count):
    from benchmarks.training.with_jax import Vmapped

    workload = _workload(network)
    weights, order, losses = _expected(network)
    group = Vmapped(per_call, workload, range(count), weights[:count])
    rows = np.stack([workload.members[m][order[m]] for m in range(count)])
    calls = [rows[:, i : i + per_call] for i in range(0, 3, per_call)]
    expected = losses[:count].reshape(count, -1, per_call).sum(2)
    found = np.asarray([group.step(at) for at in calls]).T
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert group.correct().shape == (count, 100)
    group.restart()
    np.testing.assert_allclose(np.asarray(group.step(calls[0])), expected[:, 0], rtol=1e-4)


@pytest.mark.parametrize("network", ["location_mlp", "small_cnn"])
@pytest.mark.parametrize(
    "name", ["torch_eager", "torch_fused", "torch_func", "torch_func_compiled"]
)
def test_torch_takes_the_steps_of_jleaks(network, name, monkeypatch):
    torch = pytest.importorskip("torch")
    # Compiled by others, and slowly: what is compiled is ours.
    monkeypatch.setattr(torch, "compile", lambda fn, **_: fn)
    from benchmarks.training.with_torch import MAKERS

    workload = _workload(network)
    weights, order, losses = _expected(network)
    count = CONTENDERS[name].trained(network, 2, None)
    group = MAKERS[name](workload, range(count), weights[:count])
    for i in (0, 1, 2, 0):
        at = torch.from_numpy(order[:count, i])
        found = np.atleast_1d(np.asarray(group.step(at if count > 1 else at[0])))
        np.testing.assert_allclose(found, losses[:count, i], rtol=1e-4)
        if i == 2:
            assert group.correct().shape == (count, 100)
            group.restart()


@pytest.mark.parametrize("name", ["jleaks_xla", "jax_steps", "torch_fused", "torch_func"])
def test_contenders_learn_and_are_measured(name, monkeypatch):
    if name.startswith("torch"):
        pytest.importorskip("torch")
    workload = _workload("location_mlp")
    # Asked about records that both models were trained on.
    workload = dataclasses.replace(workload, tests=np.intersect1d(*workload.members)[:50])
    module, size = CONTENDERS[name].load(), CONTENDERS[name].trained("location_mlp", 2, None)
    if name == "jleaks_xla":
        # The tests have started JAX.
        monkeypatch.setattr(module, "start", lambda execution: execution)
    found = module.learn(name, workload, 2, size, 60)
    assert found["test_accuracy"] == [1.0, 1.0]
    assert max(found["train_loss"]) < 0.5
    # An epoch has two steps.
    monkeypatch.setattr(module, "GEMM_SIZES", (64,))
    found = module.measure(name, workload, size, 0.0)
    assert found["measured_models"] == size
    assert found["model_steps"] == (8 if name == "jleaks_xla" else size)
    assert min(found[key] for key in ("seconds", "peak_megabytes", "gemm_flops")) > 0


class _Counter:
    """A group that only counts."""

    num_models, per_call, compile_seconds = 3, 2, None

    def __init__(self):
        self.steps, self.restarts = [], 0

    def restart(self):
        self.restarts += 1

    def call(self, step):
        self.steps.append(step)
        return np.full(3, 0.5)

    def correct(self):
        return np.ones((3, 4), bool)


def test_steady_steps_are_counted(monkeypatch):
    members = np.zeros((3, 5 * BATCH), np.int32)
    workload = dataclasses.replace(_workload("location_mlp"), members=members)
    # A clock that stands still until a first call and 2 * EPOCHS epochs of two whole calls have passed.
    group = _Counter()
    last = 1 + 2 * 2 * EPOCHS
    clock = types.SimpleNamespace(perf_counter=lambda: float(len(group.steps) >= last))
    monkeypatch.setattr(workload_lib, "time", clock)
    found = time_group(group, workload, 0.5)
    assert group.steps == [0, *[0, 2] * 2 * EPOCHS]
    assert group.restarts == 2
    assert (found["model_steps"], found["seconds"]) == ((last - 1) * 2 * 3, 1.0)


def test_groups_of_a_size_train_all_models():
    workload = _workload("location_mlp")
    made = []

    def make(_, models, weights):
        made.append(list(models))
        assert len(weights) == len(models)
        group = _Counter()
        group.call = lambda _: np.arange(len(models), dtype=np.float32)
        group.correct = lambda: np.eye(len(models), 4, dtype=bool)
        return group

    found = train_groups(make, workload, 5, 2, 3)
    assert made == [[0, 1], [2, 3], [4]]
    # Each epoch's two steps have the same loss.
    assert found == {"train_loss": [0, 1, 0, 1, 0], "test_accuracy": [0.25] * 5}


def test_initial_weights_are_glorots():
    workload = _workload("mnist_cnn")
    for (kernel, bias), shape in zip(
        workload.initial(0), kernel_shapes(workload.task), strict=True
    ):
        window = np.prod(shape[:-2])
        variance = 2 / (window * sum(shape[-2:]))
        assert (kernel.shape, bias.shape) == (shape, shape[-1:])
        assert kernel.var() == pytest.approx(variance, rel=0.15)
        assert not bias.any()
    assert not np.array_equal(workload.initial(0)[0][0], workload.initial(1)[0][0])


def test_a_workload_is_that_of_the_papers_shadow_models(tmp_path):
    workload, source = make_workload("location_mlp", 150, 3, None)
    assert source == "synthetic"
    assert (workload.features.shape, workload.members.shape) == ((600, 446), (3, 150))
    assert workload.members.min() >= 300
    assert all(len(set(part)) == 150 for part in workload.members)
    assert set(workload.members[0]) != set(workload.members[1])
    assert workload.tests.tolist() == list(range(300))
    workload.save(tmp_path / "workload.npz")
    again = Workload.load(tmp_path / "workload.npz")
    for field in dataclasses.fields(Workload):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(workload, field.name))
    with pytest.raises(InputError, match="not prepared"):
        make_workload("location_mlp", 150, 3, str(tmp_path))


def _found(rate: float) -> dict:
    found = {"model_steps": int(10 * rate), "seconds": 10.0, "measured_models": 1}
    return found | {"first_call_seconds": 0.5, "peak_megabytes": 300.0, "gemm_flops": 2e11}


def test_ratios_are_taken_within_turns():
    quality = {"train_loss": training.mean_and_error([0.5, 0.7])}
    runs = {
        Job("jleaks", 40): [_found(9000) | {"quality": quality}, _found(3000)],
        Job("torch_fused", 1): [_found(3000), _found(500)],
        Job("torch_func", 32): [_found(4500), _found(1000)],
        Job("torch_func_compiled", 8): [_found(3600), _found(1500)],
    }
    row = make_row("jleaks", "location_mlp", 40, runs)
    assert row["times_torch_fused"] == {"median": 4.5, "least": 3.0, "largest": 6.0}
    assert row["times_best_stacked_torch"] == {"median": 2.0, "least": 2.0, "largest": 2.0}
    assert row["model_steps_per_second"]["median"] == 6000
    flops = flops_per_step(TASKS["location"])
    assert row["gflops"]["largest"] == pytest.approx(9000 * flops / 1e9, abs=0.01)
    assert row["share_of_gemm"]["largest"] == pytest.approx(9000 * flops / 2e11, abs=1e-4)
    # 50 epochs of 12 batches.
    assert row["models_per_hour"]["least"] == 3600 * 3000 / 600
    assert row["quality"]["train_loss"] == {"mean": 0.6, "standard_error": 0.1}
    assert training.mean_and_error([0.25]) == {"mean": 0.25, "standard_error": None}
    assert "quality" not in make_row("torch_func", "location_mlp", 40, runs)
    del runs[Job("torch_fused", 1)]
    assert make_row("jleaks", "location_mlp", 40, runs)["times_torch_fused"] is None


def test_what_failed_is_told_in_its_row_and_below_the_table():
    failed = {"failed": "RuntimeError: no compiler"}
    runs = {Job("jleaks", 40): [_found(9000)], Job("torch_func_compiled", 8): [failed]}
    rows = [make_row(job.contender, "location_mlp", 40, runs) for job in runs]
    assert rows[0]["times_best_stacked_torch"] is None
    about = {"turns": 1, "cores": 2, "cpu": "a", "commit": "b", "source": "synthetic"}
    text = training_table([{**row, **about} for row in rows]).to_markdown()
    assert "torch.func, compiled: RuntimeError: no compiler" in text


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("benchmark")
    command = [
        *(sys.executable, "-m", "benchmarks.training", "--networks=location_mlp"),
        *("--num_models=2", "--repetitions=1", "--seconds=0.05", "--num_records=200"),
        *("--quality_models=2", "--contenders=jleaks_xla"),
        *(f"--out={folder / 'out.jsonl'}", f"--cache_dir={folder / 'cache'}"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "Training shadow models" in done.stdout
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def test_every_contender_leaves_a_row(rows):
    (row,) = rows
    assert row.keys() >= FIELDS, FIELDS - row.keys()
    assert (row["contender"], row["kernels"], row["failed"]) == ("jleaks_xla", "xla", None)
    assert (row["measured_models"], row["extrapolated"]) == (2, "no")
    assert min(row[key]["least"] for key in ("share_of_gemm", "peak_megabytes")) > 0
    assert row["quality"]["models"] == 2
    assert 0 < row["quality"]["train_loss"]["mean"] < np.log(30)
    assert "--num_records=200" in row["command"]
    assert "cache" not in row["command"]
    assert row["versions"].keys() >= {"jax", "torch"}


def test_jobs_that_serve_several_numbers_of_models_run_once_a_turn(monkeypatch, tmp_path, capsys):
    ran = []

    def run(job, _, quality_models):
        ran.append((*job, quality_models))
        return {"failed": "no"} if job.contender == "torch_func" else _found(1000)

    monkeypatch.setattr(training, "_run", run)
    monkeypatch.setattr(COMMAND, "repetitions", 2)
    monkeypatch.setattr(COMMAND, "quality_models", 4)
    jobs = [
        Job(name, CONTENDERS[name].trained("location_mlp", number, None))
        for number in (16, 64)
        for name in ("jleaks", "torch_fused", "torch_func")
    ]
    runs = training._turns("location_mlp", jobs, tmp_path)
    assert ran[:5] == [
        *(("jleaks", 16, 0), ("torch_fused", 1, 4), ("torch_func", 16, 0)),
        *(("jleaks", 64, 4), ("torch_func", 32, 4)),
    ]
    # What failed is not tried again.
    assert ran[5:] == [("jleaks", 16, 0), ("torch_fused", 1, 0), ("jleaks", 64, 0)]
    assert [len(found) for found in runs.values()] == [2, 2, 1, 2, 1]
    assert capsys.readouterr().out.count("\n") == len(ran)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--contenders=jleaks,nobody"], "--contenders names nobody; allowed: jleaks, "),
        (["--networks=lenet"], "--networks names lenet; allowed: purchase_mlp, "),
        (["--num_models=8,none"], "--num_models is 8,none, expected whole numbers above 0"),
        (["--contender=jleaks"], "--contender needs --workdir"),
    ],
)
def test_bad_flags_are_one_line_and_status_two(launch, flags, message):
    done = launch("benchmarks.training", *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_pytorch_its_contenders_are_skipped_unless_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(training, "find_spec", lambda _: None)
    monkeypatch.setattr(COMMAND, "contenders", None)
    assert training._chosen() == ["jleaks", "jleaks_xla", "jax_vmap", "jax_steps"]
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    assert "pip install jleaks[peers]" in told
    monkeypatch.setattr(COMMAND, "contenders", ["jleaks", "torch_eager"])
    with pytest.raises(InputError, match=r"torch_eager need.*pip install jleaks\[peers\]"):
        training._chosen()
