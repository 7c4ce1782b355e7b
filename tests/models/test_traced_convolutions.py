"""A user's convolutions as products: the same function and gradient, and none of the slow form left."""

import collections
import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from fleets import fleet_spec
from jax.extend import core

from jleaks.models.own_network import register_network
from jleaks.models.traced_convolutions import in_form
from jleaks.training.fleet import Fleet, make_mesh


class Net(nn.Module):
    """Every kind of plain convolution, and some that must stay as they are."""

    num_classes: int = 4

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(8, (5, 5))(x))
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = jax.checkpoint(nn.gelu)(nn.Conv(8, (3, 3), strides=2, padding="VALID")(x))
        x = nn.Conv(6, (2, 4), padding=((1, 0), (2, 3)))(x)
        x = nn.Conv(6, (3, 3), kernel_dilation=2)(x)
        x = nn.Conv(6, (3, 3), feature_group_count=2)(x)
        x = nn.max_pool(x, (3, 3), (1, 1), "SAME")
        return nn.Dense(self.num_classes)(x.reshape(x.shape[0], -1))


class Nnx(nnx.Module):
    """The same from the other half of flax."""

    def __init__(self, num_classes, rngs):
        self.conv = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.out = nnx.Linear(8, num_classes, rngs=rngs)

    def __call__(self, x):
        x = nnx.max_pool(nnx.relu(self.conv(x)), (2, 2), (2, 2))
        return self.out(x.mean((1, 2)))


def names(jaxpr):
    """The primitives of all equations, those inside others too."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for inner in core.jaxprs_in_params(equation.params):
            yield from names(inner)


@pytest.mark.parametrize("form", ["im2col", "rows", "products", "columns"])
@pytest.mark.parametrize(
    "wrap", [lambda fn: fn, jax.jit, jax.checkpoint], ids=["plain", "jit", "checkpoint"]
)
def test_values_and_gradients_are_those_of_flax(rng, form, wrap):
    net = Net()
    # Without ties: a maximum's gradient is then nobody's choice.
    x = jnp.asarray(rng.normal(size=(3, 13, 12, 3)), jnp.float32)
    variables = net.init(jax.random.key(0), x)

    def loss(fn):
        return lambda v: (fn(v, x) ** 2).sum()

    ours = in_form(wrap(net.apply), form)
    np.testing.assert_allclose(ours(variables, x), net.apply(variables, x), rtol=1e-4, atol=1e-5)
    found, expected = (jax.grad(loss(fn))(variables) for fn in (ours, net.apply))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max()),
        found,
        expected,
    )
    left = collections.Counter(names(jax.make_jaxpr(ours)(variables, x).jaxpr))
    # The dilated one and the grouped one; the windows that overlap.
    assert (left["conv_general_dilated"], left["reduce_window_max"]) == (2, 1)
    assert in_form(net.apply, "native") == net.apply


@pytest.mark.usefixtures("networks")
@pytest.mark.parametrize("network", [Net, Nnx])
def test_a_fleet_on_cpus_multiplies_matrices(network):
    name = f"Traced{network.__name__}"
    register_network(name, network, images=True)
    c = fleet_spec("cnn", 2)
    recipe = dataclasses.replace(c.learner.recipe, model=name)
    f = Fleet(dataclasses.replace(c.learner, recipe=recipe), make_mesh(1), 2)
    data = f.put_data(c.features, c.labels)
    pack = f.load(f.init(data, c.members, c.key_data), c.members, c.key_data)
    text = pack.compiled_text(data)
    assert ("convolution(" in text) == (network is Net)
