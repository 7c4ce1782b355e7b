"""Memory that runs out: fewer models at a time, in half steps, and the same models in the end."""

import re

import jax
import numpy as np
import pytest
from fleets import fleet_spec, trained

from jleaks.errors import InputError
from jleaks.training.execution import Execution
from jleaks.training.fleet import Fleet
from jleaks.training.preemption import StopSignal
from jleaks.training.trainer import Trainer

# Models that take turns have the same bits whatever is packed with them.
TURNS = {"num_devices": 1, "models_per_vmap": 1}


@pytest.fixture
def room(monkeypatch):
    """Makes devices hold so many models; returns how many were loaded, call by call."""
    load, loaded = Fleet.load, []

    def holds(most, error=jax.errors.JaxRuntimeError):
        def bounded(self, state, members, key_data):
            loaded.append(len(key_data))
            if len(key_data) > most:
                raise error("RESOURCE_EXHAUSTED: Out of memory allocating\nmuch")
            return load(self, state, members, key_data)

        monkeypatch.setattr(Fleet, "load", bounded)
        return loaded

    return holds


@pytest.mark.parametrize("error", [MemoryError, jax.errors.JaxRuntimeError])
def test_packs_are_halved_and_training_goes_on(room, error):
    c, said = fleet_spec("mlp", 8), []
    reference = trained(c, **TURNS)
    loaded = room(2, error)
    state = Trainer(c, Execution(**TURNS), lambda _: None, StopSignal(), said.append).run()
    assert loaded == [8, 4, 2, 2, 2, 2]
    steps = [step for line in said for step in re.findall(r"models_per_call (\d+ -> \d+)", line)]
    assert steps == ["8 -> 4", "4 -> 2"]
    assert all("\n" not in line for line in said)
    jax.tree.map(np.testing.assert_array_equal, state, reference)


def test_where_not_one_fits_the_line_says_what_to_do(room):
    room(0)
    with pytest.raises(InputError, match="Out of memory") as caught:
        trained(fleet_spec("mlp", 4), **TURNS)
    assert "\n" not in str(caught.value)
