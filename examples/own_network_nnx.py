"""A network of one's own, flax.nnx: dropout and batch normalisation, registered under a name.

jleaks sweep --tasks=location --num_seeds=1 --plugin=examples/own_network_nnx.py --model=normalised
"""

import math

from flax import nnx

from jleaks.models.own_network import register_network


class Net(nnx.Module):
    """Two layers; `train()` and `eval()` turn dropout and the batch's own statistics on and off."""

    def __init__(self, input_shape, num_classes, *, rngs):
        self.hidden = nnx.Linear(math.prod(input_shape), 64, rngs=rngs)
        self.norm = nnx.BatchNorm(64, rngs=rngs)
        self.dropout = nnx.Dropout(0.3, rngs=rngs)
        self.out = nnx.Linear(64, num_classes, rngs=rngs)

    def __call__(self, x):
        """Returns logits [B, num_classes] of records [B, ...]."""
        x = x.reshape(x.shape[0], -1)
        x = self.dropout(nnx.relu(self.norm(self.hidden(x))))
        return self.out(x)


register_network("normalised", Net)
