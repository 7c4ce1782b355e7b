"""Independence: a fleet equals each of its models trained alone, however it is packed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fleets import alone, assert_close, assert_identical, fleet_spec, trained

from benchmarks.scaling.growth import collectives
from jleaks.attacks.signals import signal_fn
from jleaks.errors import InputError
from jleaks.training import executables
from jleaks.training import fleet as fleet_lib
from jleaks.training.fleet import Fleet, make_mesh
from jleaks.training.learner import Members

# Epochs after which models are compared.  Rounding, which is another on other processors, decides a maximum
# pool or a rectifier near a tie; from there a convolutional network goes another way.
EPOCHS = {"mlp": 3, "cnn": 1}


@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("ragged", [False, True])
def test_fleet_on_four_devices_equals_each_model_alone(model, ragged):
    assert jax.local_device_count() == 4
    c = fleet_spec(model, 5, ragged=ragged, epochs=EPOCHS[model])
    state = trained(c)
    for i in range(5):
        assert_close(jax.tree.map(lambda leaf, at=i: leaf[at], state), alone(c, i))


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_compiled_program_has_no_collective(model):
    c = fleet_spec(model, 8)
    f = Fleet(c.learner, make_mesh(4), 2)
    data = f.put_data(c.features, c.labels)
    text = f.load(f.init(data, c.members, c.key_data), c.members, c.key_data).compiled_text(data)
    assert "fusion" in text  # it is a real program
    assert not collectives(text)


@pytest.mark.parametrize(
    ("model", "executions"),
    [
        (
            "mlp",
            [
                {"num_devices": 4},
                {"num_devices": 2, "models_per_call": 4, "models_per_vmap": 1},
                {"num_devices": 3, "models_per_call": 5, "models_per_vmap": 1},
                {"num_devices": 1, "models_per_vmap": 6},
                {"num_devices": 1, "models_per_vmap": 2},
            ],
        ),
        ("cnn", [{"num_devices": 4}, {"num_devices": 1, "models_per_vmap": 3}]),
    ],
)
def test_numbers_do_not_depend_on_execution(model, executions):
    c = fleet_spec(model, 6, epochs=EPOCHS[model])
    reference = trained(c, num_devices=1, models_per_call=3, models_per_vmap=1)
    for execution in executions:
        assert_close(trained(c, **execution), reference)


def test_taking_turns_models_are_identical_whatever_the_chunks_and_packs():
    c = fleet_spec("mlp", 6)
    assert_identical(
        trained(c, num_devices=1, models_per_call=6, models_per_vmap=1, chunk_seconds=0),
        trained(c, num_devices=1, models_per_call=3, models_per_vmap=1, chunk_seconds=9),
    )


def test_a_model_does_not_depend_on_how_many_others_there_are():
    c = fleet_spec("mlp", 6)
    part = dataclasses.replace(
        c,
        names=c.names[2:4],
        members=jax.tree.map(lambda leaf: leaf[2:4], c.members),
        key_data=c.key_data[2:4],
    )
    whole = trained(c, models_per_vmap=1)
    assert_close(trained(part, models_per_vmap=1), jax.tree.map(lambda leaf: leaf[2:4], whole))


def test_padding_of_members_changes_nothing():
    c = fleet_spec("mlp", 3)
    padded = dataclasses.replace(
        c, members=Members(np.pad(c.members.indices, ((0, 0), (0, 37))), c.members.size)
    )
    assert_close(trained(padded), trained(c))


def test_forms_of_convolution_and_blocks_of_records_train_the_same_model():
    reference = trained(fleet_spec("cnn", 1, form="native", epochs=1), num_devices=1)
    for form, block in (("rows", None), ("products", 7)):
        found = trained(fleet_spec("cnn", 1, form=form, block=block, epochs=1), num_devices=1)
        assert_close(found, reference)


def test_chunks_share_one_compiled_program():
    c = fleet_spec("mlp", 4, epochs=7)
    before = fleet_lib.TRACES["fit"]
    trained(c, chunk_seconds=0)
    trained(c, chunk_seconds=5)
    assert fleet_lib.TRACES["fit"] - before <= 1


def test_query_answers_each_model_on_its_own_records(rng):
    c = fleet_spec("mlp", 5)
    state = trained(c)
    f = Fleet(c.learner, make_mesh(4), 2)
    data = f.put_data(c.features, c.labels)
    rows = rng.integers(0, len(c.features), (5, 33)).astype(np.int32)
    found = f.query(data, state, rows, signal_fn(3), 10)
    for i in range(5):
        one = jax.tree.map(lambda leaf, at=i: jnp.asarray(leaf[at]), state)
        logits = c.learner.logits(one, jnp.asarray(c.features[rows[i]]))
        expected = signal_fn(3)(lambda x: x, logits, jnp.asarray(c.labels[rows[i]]))
        for name, values in expected.items():
            np.testing.assert_allclose(found[name][i], values, rtol=1e-5, atol=1e-6)


def test_more_devices_than_there_are_is_bad_input():
    with pytest.raises(InputError, match="num_devices is 99, JAX sees 4"):
        make_mesh(99)


def test_a_pack_padded_to_another_runs_its_program_and_trains_the_same_models():
    c = fleet_spec("mlp", 5)
    fleet = Fleet(c.learner, make_mesh(1), 4, least=4)
    data = fleet.put_data(c.features, c.labels)
    before = fleet_lib.TRACES["fit"]
    found = []
    for rows in (slice(0, 4), slice(4, 5)):
        members, keys = jax.tree.map(lambda a, rows=rows: a[rows], (c.members, c.key_data))
        pack = fleet.load(fleet.init(data, members, keys), members, keys)
        pack.fit(data, 0, c.learner.recipe.epochs)
        found.append(pack.fetch())
    assert fleet_lib.TRACES["fit"] - before <= 1
    state = jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)
    assert len(state.losses) == 5
    assert_close(jax.tree.map(lambda leaf: leaf[4], state), alone(c, 4))


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    with pytest.raises(InputError, match="4 processes that share their devices"):
        make_mesh()


def test_options_that_xla_does_not_know_are_left_out(monkeypatch):
    monkeypatch.setitem(executables._OPTIONS, "cpu", {"xla_no_such_option": True})
    lowered = jax.jit(lambda x: x + 1).lower(jnp.zeros(3))
    assert executables.compiled(lowered, "cpu")(jnp.zeros(3)).tolist() == [1, 1, 1]
