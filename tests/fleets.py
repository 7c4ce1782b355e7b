"""Small fleets that several test files train."""

import dataclasses
import functools
import signal

import jax
import jax.numpy as jnp
import numpy as np

from jleaks.keys import Role, identity_key
from jleaks.models.networks import Computing, ResNet
from jleaks.training import epoch as epoch_lib
from jleaks.training.execution import Execution
from jleaks.training.fleet import stack_key_data
from jleaks.training.learner import Data, Learner, Members
from jleaks.training.preemption import StopSignal
from jleaks.training.recipe import Recipe
from jleaks.training.trainer import FleetSpec, Trainer

NUM_RECORDS = 120


def fleet_spec(model="mlp", num_models=5, *, ragged=False, epochs=3, block=None, form="products"):
    """A fleet of small models on random halves of random data."""
    rng = np.random.default_rng(3)
    if model == "cnn":
        features = rng.integers(0, 256, (NUM_RECORDS, 12, 12, 3)).astype(np.uint8)
        encoding = "pixels"
    else:
        features = rng.integers(0, 2, (NUM_RECORDS, 20)).astype(np.uint8)
        encoding = "binary"
    labels = rng.integers(0, 4, NUM_RECORDS).astype(np.int32)
    indices = np.stack([rng.permutation(NUM_RECORDS)[:60] for _ in range(num_models)])
    counts = np.array([60 - 11 * (i % 3) * ragged for i in range(num_models)], np.int32)
    recipe = Recipe(model, (16,), epochs, 20, 1e-2, 1e-4)
    return FleetSpec(
        name="test",
        names=[f"model {i}" for i in range(num_models)],
        learner=Learner(recipe, encoding, 4, form, block),
        features=features,
        labels=labels,
        members=Members(indices.astype(np.int32), counts),
        key_data=stack_key_data(
            [identity_key(0, "test", Role.TARGET, i) for i in range(num_models)]
        ),
    )


def alone(c, i):
    """Model i without fleet, mesh, vmap or map."""
    data = Data(jnp.asarray(c.features), jnp.asarray(c.labels))
    members = jax.tree.map(lambda a: jnp.asarray(a[i]), c.members)
    key = jax.random.wrap_key_data(jnp.asarray(c.key_data[i]))
    state = epoch_lib.init(c.learner, data, members, key, None)
    for epoch in range(c.learner.recipe.epochs):
        state = jax.jit(epoch_lib.epoch, static_argnums=0)(
            c.learner, data, members, key, state, jnp.int32(epoch)
        )
    return state


# XLA chooses the order of a product's sums by its shapes, which the model axis changes, and Adam
# magnifies the difference where a gradient is all but zero.  Hence a bound on each leaf's distance
# relative to its norm.
TOLERANCE = 1e-3


def trained(c, **execution):
    return Trainer(c, Execution(**execution), lambda _: None, StopSignal()).run()


def assert_close(ours, theirs, tolerance=TOLERANCE):
    def compare(a, b):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b)

    jax.tree.map(compare, ours, theirs)


def assert_identical(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


class StopAfter(StopSignal):
    """Pretends that SIGTERM arrived after so many looks."""

    def __init__(self, looks):
        self.looks = looks

    @property
    def received(self):
        self.looks -= 1
        return signal.SIGTERM if self.looks < 0 else None


def trained_in_steps(c, store=None, stop=None, **execution):
    e = Execution(chunk_seconds=0, models_per_vmap=1, **execution)
    return Trainer(c, e, lambda _: None, stop or StopSignal()).run(store)


@dataclasses.dataclass(frozen=True)
class TinyLearner(Learner):
    """A residual network that trains in seconds."""

    order: str = "pre-activation"

    @functools.cached_property
    def module(self):
        return ResNet(self.num_classes, 3, (4, 6), 1, self.order, Computing(self.form, "float32"))


def tiny_spec(num_models=2, *, epochs=2, order="pre-activation"):
    """A fleet of residual networks on 8x8 images."""
    c = fleet_spec("cnn", num_models, epochs=epochs)
    recipe = Recipe(
        "wrn28_2", epochs=epochs, batch_size=20, learning_rate=0.05, l2=2.5e-4, optimizer="sgd"
    )
    learner = TinyLearner(recipe, "pixels", 4, "products", order=order)
    return dataclasses.replace(c, learner=learner, features=c.features[:, :8, :8])
