"""What one step and one epoch of two tiny networks compute, to the digit: stored here, from a fixed key.

Other tests compare the training with itself: a change that moves all numbers alike passes them.  It is
right to change a number here only with a change that is meant to move the numbers of every plan:
another initialisation, order, draw, loss or optimiser.  Then raise FORMAT in `jleaks/fingerprint.py` in
the same commit, or results of before and after pass for one another.  Faster kernels, another JAX,
another device, other packs are no reason; where they differ by more than `TOLERANCES`, they are wrong.
`python tests/training/test_golden.py` prints what the checkout computes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jleaks import fingerprint
from jleaks.keys import Role, identity_key
from jleaks.models.kernels import choose
from jleaks.training import epoch as epoch_lib
from jleaks.training.learner import Data, Learner, Members
from jleaks.training.recipe import Recipe

# Relative; float32 sums in another order.  On the machine that wrote the numbers all agree to 1e-6.
TOLERANCES = {("xla", "cpu"): 1e-5, ("host", "cpu"): 1e-4, ("xla", "gpu"): 1e-3}
BATCH = 20
# The FORMAT whose numbers these are.
FORMAT = 2
GOLDEN = {
    ("mlp", 20): {
        "loss": [1.2581968],
        "Dense_0/bias": [0.028284074, 9.3132257e-10],
        "Dense_0/kernel": [2.8591991, 1.203194],
        "Dense_1/bias": [0.01732039, -0.0099999309],
        "Dense_1/kernel": [1.9001404, 0.38037533],
    },
    ("cnn", 20): {
        "loss": [1.1509086],
        "Conv_0/bias": [0.056556135, -6.7958608e-05],
        "Conv_0/kernel": [2.4262488, 0.99206296],
        "Conv_1/bias": [0.051961046, -0.030000168],
        "Conv_1/kernel": [5.6339127, -18.851578],
        "MLP_0/Dense_0/bias": [0.11313596, -0.11999983],
        "MLP_0/Dense_0/kernel": [7.0658793, 17.453398],
        "MLP_0/Dense_1/bias": [0.017320389, 0.0099999281],
        "MLP_0/Dense_1/kernel": [2.4049876, -0.062956171],
    },
    ("mlp", 60): {
        "loss": [1.1910592],
        "Dense_0/bias": [0.060358284, 0.0095633416],
        "Dense_0/kernel": [2.8437304, 1.2600901],
        "Dense_1/bias": [0.034807859, -0.00087027438],
        "Dense_1/kernel": [1.8782359, 0.38026336],
    },
    ("cnn", 60): {
        "loss": [1.6084852],
        "Conv_0/bias": [0.092720965, -0.24854214],
        "Conv_0/kernel": [2.4537299, -0.13258855],
        "Conv_1/bias": [0.10292765, -0.26807578],
        "Conv_1/kernel": [6.0401215, -160.03198],
        "MLP_0/Dense_0/bias": [0.10775634, 0.023985456],
        "MLP_0/Dense_0/kernel": [6.9512472, 18.341784],
        "MLP_0/Dense_1/bias": [0.0076548321, -0.003412917],
        "MLP_0/Dense_1/kernel": [2.3689596, -0.55609727],
    },
}


def computed(model, records, kernels="xla"):
    """Trains one epoch on so many records; returns its loss, and each array's L2 norm and sum."""
    number = np.arange(3 * BATCH)
    shape, encoding = ((12,), "binary") if model == "mlp" else ((12, 12, 3), "pixels")
    recipe = Recipe(model, (8,), 1, BATCH, 1e-2, 1e-4)
    # No generator of random numbers but JAX's has a say.
    values = (number[:, None] * 31 + np.arange(np.prod(shape)) * 17 + number[:, None] ** 2) % 251
    features = values % 2 if encoding == "binary" else values
    data = Data(
        jnp.asarray(features.reshape(-1, *shape), jnp.uint8), jnp.asarray(number % 3, jnp.int32)
    )
    members = Members(jnp.arange(records, dtype=jnp.int32), jnp.int32(records))
    learner = Learner(recipe, encoding, 3, "products", kernels=choose(kernels))
    key = identity_key(0, "golden", Role.TARGET, 0)

    @jax.jit
    def train(data, members):
        state = epoch_lib.init(learner, data, members, key, None)
        return epoch_lib.epoch(learner, data, members, key, state, jnp.int32(0))

    state = train(data, members)
    found = {"loss": [float(state.losses[0])]}
    for path, leaf in jax.tree.leaves_with_path(state.params):
        leaf = np.asarray(leaf, np.float64)
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        found[name] = [float(np.linalg.norm(leaf)), float(leaf.sum())]
    return found


def check(found, model, records, tolerance):
    expected = GOLDEN[model, records]
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        # A sum is as exact as the array is large, not as the sum is.
        scale = abs(values[0])
        assert found[name] == pytest.approx(values, rel=0, abs=tolerance * scale), name


@pytest.mark.parametrize("records", [BATCH, 3 * BATCH], ids=["one step", "one epoch"])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_training_computes_what_it_did(model, records):
    tolerance = TOLERANCES["xla", jax.default_backend()]
    check(computed(model, records), model, records, tolerance)


@pytest.mark.parametrize("records", [BATCH, 3 * BATCH], ids=["one step", "one epoch"])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.skipif(jax.default_backend() != "cpu", reason="kernels for CPU devices")
@pytest.mark.usefixtures("kernels")
def test_the_host_kernels_compute_it_too(model, records):
    check(computed(model, records, "host"), model, records, TOLERANCES["host", "cpu"])


def test_these_are_the_numbers_of_the_current_format():
    assert fingerprint.FORMAT == FORMAT, "new numbers, then FORMAT here, in one commit"


if __name__ == "__main__":
    for size in (BATCH, 3 * BATCH):
        for name in ("mlp", "cnn"):
            print((name, size), computed(name, size))
