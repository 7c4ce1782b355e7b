"""Packings: predicted against counted bytes, fitted into memory that is made up, and said in one line."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fleets import fleet_spec, tiny_spec

from jleaks.errors import InputError
from jleaks.training import epoch, memory, packing
from jleaks.training.execution import Execution
from jleaks.training.fleet import Fleet, make_mesh
from jleaks.training.learner import Data
from jleaks.training.preemption import StopSignal
from jleaks.training.trainer import Trainer

# Prediction and XLA's count agree within this factor.
FACTOR = 1.5
PLENTY = 1 << 40


def wide(num_models=8, features=600, hidden=128, **about):
    """A fleet of MLPs whose states are larger than what they work with."""
    c = fleet_spec("mlp", num_models, **about)
    rng = np.random.default_rng(5)
    recipe = dataclasses.replace(c.learner.recipe, hidden=(hidden,))
    return dataclasses.replace(
        c,
        features=rng.integers(0, 2, (len(c.features), features)).astype(np.uint8),
        learner=dataclasses.replace(c.learner, recipe=recipe),
    )


def chosen(c, num_devices=1, available=PLENTY, num_models=None, **execution):
    return packing.choose(
        c.learner,
        Data(c.features, c.labels),
        c.members.indices.shape[1],
        num_models or c.num_models,
        jax.devices()[:num_devices],
        Execution(**execution),
        available,
    )


def untrained(c, num_models):
    """Shapes and types of so many models' state; nothing is compiled."""
    data = Data(c.features, c.labels)
    one = jax.tree.map(lambda leaf: leaf[0], c.members)
    state = jax.eval_shape(
        lambda data, one, key: epoch.init(c.learner, data, one, key, None),
        data,
        one,
        jax.random.key(0),
    )
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((num_models, *leaf.shape), leaf.dtype), state
    )


def counted(c, found):
    """What XLA counts for the training program of a packing's first call."""
    fleet = Fleet(c.learner, make_mesh(found.num_devices), found.models_per_vmap)
    data = fleet.put_data(c.features, c.labels)
    part = jax.tree.map(lambda leaf: leaf[: found.models_per_call], (c.members, c.key_data))
    return fleet.prepare(data, untrained(c, found.models_per_call), *part).num_bytes


@pytest.mark.parametrize(
    ("made", "num_devices", "models"),
    [
        (lambda: fleet_spec("mlp", 8), 1, (8, 8)),
        (wide, 1, (1, 1)),
        (wide, 1, (8, 2)),
        (wide, 2, (8, 1)),
        (lambda: fleet_spec("cnn", 4, block=5), 1, (4, 1)),
        (lambda: fleet_spec("cnn", 4, form="native"), 1, (4, 4)),
        (lambda: tiny_spec(2), 1, (2, 1)),
    ],
)
def test_predicted_and_counted_bytes_agree_within_a_factor(made, num_devices, models):
    c = made()
    found = chosen(c, num_devices).with_models(*models)
    actual = counted(c, found)
    of_data = c.features.nbytes + c.labels.nbytes
    assert found.data_bytes == of_data
    ratio = (found.call_bytes - of_data) / (actual - of_data)
    assert 1 / FACTOR < ratio < FACTOR


def test_a_prediction_from_what_was_counted_is_closer():
    c = wide()
    first = chosen(c).with_models(8, 2)
    known = first.counted(counted(c, first))
    assert known.compiled
    assert known.bytes_per_model == known.state_bytes + known.activation_bytes
    other = known.with_models(4, 1)
    assert not other.compiled
    actual = counted(c, other)
    assert abs(other.call_bytes / actual - 1) < 0.05
    assert abs(other.call_bytes - actual) < abs(first.with_models(4, 1).call_bytes - actual)


def test_state_bytes_are_those_of_the_arrays():
    c = wide(1)
    parts = jax.tree.leaves((untrained(c, 1), c.members, c.key_data))
    assert chosen(c).state_bytes == sum(leaf.size * leaf.dtype.itemsize for leaf in parts)


def test_what_fits_in_cache_together_advances_together():
    alone, together = chosen(wide()), chosen(fleet_spec("mlp", 8))
    assert (alone.models_per_vmap, alone.per_vmap_reason) == (1, "cache")
    assert (together.models_per_vmap, together.per_vmap_reason) == (8, "models per call")
    many = chosen(fleet_spec("mlp", 8), num_models=1000)
    assert many.per_vmap_reason == "cache"
    assert 8 < many.models_per_vmap < 256
    # Groups are equally large: the padding of the last one is less than a model per group.
    groups = -(-many.per_device // many.models_per_vmap)
    assert groups * many.models_per_vmap - many.per_device < groups


def test_chunks_bound_the_call_and_calls_are_equal():
    c = wide()
    found = chosen(c, num_models=10, chunk_seconds=0)
    assert (found.models_per_call, found.per_call_reason) == (1, "chunk length")
    whole = chosen(c, num_models=10)
    assert (whole.models_per_call, whole.per_call_reason) == (10, "number of models")
    over_devices = chosen(c, num_devices=2, num_models=5)
    assert (over_devices.models_per_call, over_devices.per_device) == (5, 3)


@pytest.mark.parametrize("made", [wide, lambda: fleet_spec("mlp", 8), lambda: fleet_spec("cnn", 8)])
@pytest.mark.parametrize("group", [None, 2])
def test_less_memory_never_means_more_models(made, group):
    c = made()
    plenty = chosen(c, num_models=64, models_per_vmap=group)
    assert "memory" not in (plenty.per_call_reason, plenty.per_vmap_reason)
    before = plenty
    for share in (1.0, 0.7, 0.5, 0.3, 0.1, 0.0):
        room = plenty.data_bytes + share * (plenty.call_bytes - plenty.data_bytes)
        found = chosen(c, num_models=64, available=int(room / 0.6) + 1, models_per_vmap=group)
        assert found.models_per_call <= before.models_per_call
        assert found.models_per_vmap <= before.models_per_vmap
        assert found.call_bytes <= found.limit_bytes or found.smaller() is None
        before = found
        if share == 1.0:
            assert found == dataclasses.replace(
                plenty, budget_bytes=found.budget_bytes, memory_bytes=found.memory_bytes
            )
    assert before.smaller() is None
    assert before.per_device == before.models_per_vmap == (group or 1)
    assert before.per_call_reason == "memory"
    # Where nothing is left to choose, all of the memory may be taken.
    assert before.limit_bytes == before.memory_bytes > before.budget_bytes


def test_models_that_take_turns_become_fewer_and_those_that_work_together_too():
    states = chosen(wide(), num_models=64)
    assert states.models_per_vmap == 1
    assert states.smaller().models_per_call == 32
    together = chosen(fleet_spec("mlp", 8)).smaller()
    assert (together.models_per_call, together.models_per_vmap) == (4, 4)
    # Activations dominate: turns are the remedy, calls stay long.
    heavy = chosen(fleet_spec("cnn", 8)).with_models(8, 4)
    assert (heavy.smaller().models_per_call, heavy.smaller().models_per_vmap) == (8, 2)
    assert heavy.changes(heavy.smaller()) == "models_per_vmap 4 -> 2"


def test_what_the_user_fixed_stays():
    fixed = chosen(wide(), available=1, models_per_call=8, models_per_vmap=4)
    assert (fixed.models_per_call, fixed.models_per_vmap) == (8, 4)
    assert (fixed.per_call_reason, fixed.per_vmap_reason) == ("user", "user")
    assert fixed.smaller() is None
    group = chosen(wide(), available=1, models_per_vmap=4)
    assert (group.models_per_call, group.models_per_vmap) == (4, 4)
    calls = chosen(fleet_spec("mlp", 8), available=1, models_per_call=6)
    assert (calls.models_per_call, calls.models_per_vmap) == (6, 1)


@pytest.mark.parametrize(
    "fixed",
    [
        {"models_per_vmap": 8},
        {"models_per_call": 8},
        {"models_per_call": 8, "models_per_vmap": 8},
    ],
)
def test_fixed_numbers_that_do_not_fit_are_one_clear_line_with_some_that_do(fixed):
    c = wide()
    # Enough for two models, and for the little data.
    room = chosen(c).with_models(2, 2).call_bytes
    execution = Execution(num_devices=1, **fixed)

    def trained(execution):
        return Trainer(c, execution, lambda _: None, StopSignal(), memory=int(room / 0.6)).run()

    with pytest.raises(InputError) as caught:
        trained(execution)
    message = str(caught.value)
    assert message.startswith("test: the program `")
    assert "\n" not in message
    given = ", ".join(f"{name} is 8" for name in fixed)
    advice = message.split(given + ": ")[1]
    assert advice.endswith(" is predicted to fit")
    fits = dict(part.split("=") for part in advice.removesuffix(" is predicted to fit").split(", "))
    assert list(fits) == list(fixed)
    suggested = {name: int(value) for name, value in fits.items()}
    assert all(1 <= value < 8 for value in suggested.values())
    trained(dataclasses.replace(execution, **suggested))


@pytest.mark.parametrize(
    ("made", "advice"),
    [
        (
            lambda: fleet_spec("cnn", 2, block=5),
            r"records_per_block below 5, or a batch_size below 20",
        ),
        (lambda: tiny_spec(2), r"try a batch_size below 20, or num_devices below 2, which share"),
    ],
)
def test_one_model_that_does_not_fit_is_bad_input_with_advice(made, advice):
    c = made()
    room = c.features.nbytes + c.labels.nbytes + 1000
    trainer = Trainer(c, Execution(num_devices=2), lambda _: None, StopSignal(), memory=room)
    with pytest.raises(InputError, match=rf"even one model on each device is too much: .*{advice}"):
        trainer.run()


def test_a_dataset_that_does_not_fit_is_bad_input():
    with pytest.raises(
        InputError, match=r"test: the dataset takes 2\.9 kB of each of 4 devices, .*2\.8 kB"
    ):
        Trainer(fleet_spec(), Execution(), lambda _: None, StopSignal(), memory=2800)


def test_the_line_names_the_numbers_and_the_reasons():
    c = wide(3)
    found = chosen(c, num_devices=2, models_per_vmap=1)
    assert str(found) == (
        "3 of 3 models per call (number of models), 1 per instruction (user); "
        f"{memory.readable(found.state_bytes)} of state and "
        f"{memory.readable(found.activation_bytes)} of activations per model; "
        f"{memory.readable(found.call_bytes)} of 660 GB on each of 2 devices (predicted)"
    )
    fields = dataclasses.asdict(found)
    assert fields["budget_bytes"] == int(0.6 * PLENTY)
    assert fields["bytes_per_model"] == fields["state_bytes"] + fields["activation_bytes"]


def test_peak_bytes_of_a_small_program():
    def fn(x):
        a = x + 1  # 400 bytes, until b
        b = a * 2  # 400 bytes, until c
        c = jnp.concatenate([b, b])  # 800 bytes, until the end
        return c, b.sum()  # b is alive beside c, and 4 bytes

    jaxpr = jax.make_jaxpr(fn)(np.zeros(100, np.float32)).jaxpr
    assert memory.peak_bytes(jaxpr) == 400 + 800 + 4
    # A loop's body counts beside what is alive around it.
    inner = jax.make_jaxpr(lambda x: jax.lax.fori_loop(0, 3, lambda _, x: fn(x)[0][:100], x) + 1)
    looped = inner(np.zeros(100, np.float32)).jaxpr
    assert 400 + 800 <= memory.peak_bytes(looped) <= 2 * (400 + 800 + 4)


def machine(root, available=1000, **files):
    """Writes the files that describe a machine with so many kB."""
    for path, text in {
        "proc/meminfo": f"MemFree: 1 kB\nMemAvailable: {available} kB\n",
        **files,
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return memory.available_memory(root)


def test_available_memory_includes_the_page_cache(tmp_path):
    assert machine(tmp_path) == 1024 * 1000
    assert memory.available_memory(tmp_path / "nothing") > 0
    assert memory.available_memory() > 0


@pytest.mark.parametrize(
    ("process", "base", "names", "unlimited"),
    [
        ("0::/a/b\n", "sys/fs/cgroup", ("max", "current", "inactive_file"), "max"),
        (
            "1:cpu:/\n4:memory,hugetlb:/a/b\n",
            "sys/fs/cgroup/memory",
            ("limit_in_bytes", "usage_in_bytes", "total_inactive_file"),
            str(2**63 - 4096),
        ),
    ],
)
def test_available_memory_respects_control_groups(tmp_path, process, base, names, unlimited):
    limit, usage, cache = names

    def group(folder, most):
        at = f"{base}/{folder}".rstrip("/")
        return {
            f"{at}/memory.{limit}": f"{most}\n",
            f"{at}/memory.{usage}": "300000\n",
            f"{at}/memory.stat": f"anon 7\n{cache} 100000\n",
        }

    own = {"proc/self/cgroup": process}
    assert machine(tmp_path / "1", **own, **group("a/b", unlimited)) == 1024 * 1000
    assert machine(tmp_path / "2", **own, **group("a/b", 500_000)) == 300_000
    # The tightest of those around it counts; in a container only the top may be there.
    tight = {**group("a/b", 900_000), **group("a", 400_000)}
    assert machine(tmp_path / "3", **own, **tight) == 200_000
    assert machine(tmp_path / "4", **own, **group("", 450_000)) == 250_000
    assert machine(tmp_path / "5", 100, **own, **group("", 450_000)) == 102_400
    assert machine(tmp_path / "6", **own, **group("a/b", 100_000)) == 0


def test_running_out_of_memory_is_told_from_other_errors():
    error = jax.errors.JaxRuntimeError
    assert memory.exhausted(error("RESOURCE_EXHAUSTED: Out of memory allocating 4294967296 bytes."))
    assert memory.exhausted(error("INTERNAL: CUDA_ERROR_OUT_OF_MEMORY: out of memory"))
    assert memory.exhausted(MemoryError())
    assert not memory.exhausted(error("INVALID_ARGUMENT: shapes"))
    assert not memory.exhausted(ValueError("RESOURCE_EXHAUSTED"))


def test_readable_numbers_of_bytes():
    texts = [memory.readable(n) for n in (0, 999, 1000, 9_940, 123_456, 5.24e9, 5e12)]
    assert texts == ["0 B", "999 B", "1.0 kB", "9.9 kB", "123 kB", "5.2 GB", "5000 GB"]


@dataclasses.dataclass(frozen=True)
class Absent:
    """A device of which a packing must know nothing but its platform."""

    platform: str


def chosen_for(platform, c, num_models, available=PLENTY, **execution):
    data, size = Data(c.features, c.labels), c.members.indices.shape[1]
    execution = Execution(**execution)
    return packing.choose(
        c.learner, data, size, num_models, [Absent(platform)], execution, available
    )


# Not by the platform's name, which would mark it as a test that needs one.
@pytest.mark.parametrize("platform", ["gpu", "tpu"], ids=["cuda", "xla"])
def test_on_accelerators_models_that_convolve_take_turns(platform):
    native = fleet_spec("cnn", 1, form="native")
    found = chosen_for(platform, native, 40)
    assert (found.models_per_vmap, found.per_vmap_reason) == (1, "convolutions")
    assert found.models_per_call == 40
    assert chosen_for(platform, native, 40, models_per_vmap=8).models_per_vmap == 8
    # Written as matrix products they advance together, and so do they on a CPU that has the room.
    assert chosen_for(platform, fleet_spec("cnn", 1), 40).models_per_vmap > 1
    assert chosen_for("cpu", native, 40).per_vmap_reason != "convolutions"


def test_on_tpus_a_cores_own_memory_bounds_who_advances_together():
    c = wide(1)
    gpu, tpu = (chosen_for(platform, c, 256) for platform in ("gpu", "tpu"))
    assert (gpu.models_per_vmap, gpu.per_vmap_reason) == (256, "models per call")
    assert tpu.per_vmap_reason == "cache"
    taken = tpu.models_per_vmap * (tpu.state_bytes + tpu.activation_bytes)
    assert 45_000_000 < taken < 95_000_000


def test_a_last_pack_is_padded_where_that_is_cheaper_than_compiling():
    c = wide(1)
    assert chosen_for("gpu", c, 100, models_per_call=64).pads
    # Nothing is left over; nothing is compiled anew on a CPU in so long a time.
    assert not chosen_for("gpu", c, 128, models_per_call=64).pads
    assert not chosen_for("cpu", c, 100, models_per_call=64).pads
    recipe = dataclasses.replace(c.learner.recipe, epochs=10**7)
    longer = dataclasses.replace(c, learner=dataclasses.replace(c.learner, recipe=recipe))
    assert not chosen_for("gpu", longer, 100, models_per_call=64).pads


def test_an_accelerator_that_hides_its_memory_is_bad_input():
    class Hiding(Absent):
        device_kind = "H100"

        def memory_stats(self):
            return None

    with pytest.raises(InputError, match="H100 does not say how much memory it has"):
        memory.device_memory(Hiding("gpu"))
