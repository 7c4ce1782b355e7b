"""What a model that imitates another minimises, and models that go on from trained ones."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jleaks.experiments.library import take
from jleaks.training import step as step_lib
from jleaks.training.learner import Batch
from jleaks.training.objective import Objective
from tests.fleets import fleet_spec, trained


def test_half_is_the_classes_and_half_the_log_posteriors(rng):
    spec = fleet_spec()
    recipe = dataclasses.replace(spec.learner.recipe, loss="imitation")
    learner = dataclasses.replace(spec.learner, recipe=recipe)
    logits, theirs = rng.normal(size=(2, 7, 4)) * 20
    labels = rng.integers(4, size=7)
    logs = theirs - np.log(np.exp(theirs).sum(1, keepdims=True))
    batch = Batch(
        jnp.zeros((7, 20)), jnp.asarray(labels),
        objective=Objective(soft_labels=jnp.asarray(logs, jnp.float32)),
    )  # fmt: skip
    found = step_lib.record_losses(learner, jnp.asarray(logits, jnp.float32), batch)
    for i, row in enumerate(logits):
        own = [z - np.log(sum(np.exp(row))) for z in row]
        apart = sum((a - b) ** 2 for a, b in zip(own, logs[i], strict=True)) / 4
        np.testing.assert_allclose(found[i], (apart - own[labels[i]]) / 2, rtol=1e-4)


def test_models_go_on_from_their_own_start():
    first = trained(fleet_spec(), models_per_vmap=1)
    begun = first._replace(opt_state=(), adversary={})
    recipe = dataclasses.replace(fleet_spec().learner.recipe, learning_rate=1e-30, l2=0.0)
    spec = dataclasses.replace(
        fleet_spec(),
        learner=dataclasses.replace(fleet_spec().learner, recipe=recipe),
        begun=begun,
    )
    at = np.array([3, 1])
    found = trained(take(spec, at), models_per_vmap=1)
    for mine, theirs in zip(
        jax.tree.leaves(found.params), jax.tree.leaves(first.params), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs[at])
    # Training has not written over what it was given.
    moved = dataclasses.replace(
        spec.learner, recipe=dataclasses.replace(recipe, learning_rate=0.01)
    )
    before = jax.tree.map(np.array, begun.params)
    trained(dataclasses.replace(spec, learner=moved), models_per_vmap=1)
    jax.tree.map(np.testing.assert_array_equal, begun.params, before)
