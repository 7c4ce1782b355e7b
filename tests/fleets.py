"""Small fleets that several test files train."""

import numpy as np

from jleaks.fleet import stack_key_data
from jleaks.keys import Role, identity_key
from jleaks.learner import Learner, Members
from jleaks.plan import Recipe
from jleaks.trainer import FleetSpec

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
