"""No operation of training or of a query mixes integers with floats unless it says so.

Programs are traced under strict promotion, which refuses; nothing is compiled or run.  The optimiser's own
update is traced outside: optax counts steps in integers and takes powers of floats to them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jleaks import keys
from jleaks.training import epoch as epoch_lib
from jleaks.training import optimizer
from jleaks.training.learner import Data, Learner, Members
from jleaks.training.recipe import Recipe

# Recipe, encoding, a record's shape and type.
SGD = {"optimizer": "sgd", "schedule": "cosine", "augmentation": "flips and crops"}
CASES = {
    "binary": (Recipe(batch_size=20), "binary", (12,), np.uint8),
    "terms": (Recipe(batch_size=20, activation="relu"), "terms", (12,), np.uint8),
    "mixed": (Recipe("logistic", batch_size=20), "mixed", (14,), np.int32),
    "posteriors": (Recipe(batch_size=20), "posteriors", (3,), np.float32),
    "quantile": (Recipe(batch_size=20, loss="quantile"), "binary", (12,), np.uint8),
    "cnn": (Recipe("cnn", batch_size=20), "pixels", (12, 12, 3), np.uint8),
    "residual": (Recipe("wrn28_2", batch_size=20, **SGD), "pixels", (8, 8, 3), np.uint8),
}


def trace(case, dropout):
    """Traces a model's first state, its epochs and its answers."""
    recipe, encoding, shape, dtype = CASES[case]
    learner = Learner(recipe, encoding, 1 if case == "quantile" else 3, "products")

    def array(shape, dtype):
        return jax.ShapeDtypeStruct(shape, dtype)

    def train(data, members, key_data):
        key = keys.wrap(key_data)
        mask = jnp.ones(shape, jnp.float32) if encoding == "posteriors" else None
        state = epoch_lib.init(learner, data, members, key, mask)
        state = epoch_lib.fit(learner, data, members, key, state, jnp.int32(0), jnp.int32(2))
        return learner.logits(state, data.features[:7])

    members = Members(
        array((60,), np.int32),
        array((), np.int32),
        dropout=array((2,), np.float32) if dropout else None,
        answers=array((60,), np.float32) if case == "quantile" else None,
    )
    data = Data(array((100, *shape), dtype), array((100,), np.int32))
    return jax.eval_shape(train, data, members, array((2,), np.uint32))


@pytest.mark.parametrize(
    ("case", "dropout"), [(case, False) for case in CASES] + [("binary", True), ("cnn", True)]
)
def test_training_and_queries_promote_nothing(case, dropout, monkeypatch):
    update = optimizer.update

    def as_optax_has_it(*args):
        with jax.numpy_dtype_promotion("standard"):
            return update(*args)

    monkeypatch.setattr(optimizer, "update", as_optax_has_it)
    with jax.numpy_dtype_promotion("strict"):
        assert trace(case, dropout).dtype == jnp.float32


def test_strict_promotion_refuses():
    with jax.numpy_dtype_promotion("strict"), pytest.raises(jax.dtypes.TypePromotionError):
        jax.eval_shape(lambda a, b: a * b, jnp.int32(1), jnp.float32(1))
