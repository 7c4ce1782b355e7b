"""A network of one's own, flax.linen: dropout, and nothing that mentions jleaks.

jleaks bank --tasks=location --num_models=16 --network=examples/own_network_linen.py:Net
"""

import flax.linen as nn


class Net(nn.Module):
    """Two layers; `train` turns dropout on."""

    num_classes: int
    width: int = 128

    @nn.compact
    def __call__(self, x, train=False):
        """Returns logits [B, num_classes] of records [B, ...]."""
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(self.width)(x))
        x = nn.Dropout(0.2, deterministic=not train)(x)
        return nn.Dense(self.num_classes)(x)
