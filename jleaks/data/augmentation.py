"""Random flips and crops of a training batch (the recipe of the CIFAR literature, He et al. 2016).

A crop cuts an image's own size out of it after `BORDER` pixels of reflection were added on every side (the
border row itself is not repeated), as the reference implementations of LiRA do.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int, Num

from jleaks.arrays import AnyArray
from jleaks.fields import Augmentation
from jleaks.keys import Key

# Pixels added on every side.
BORDER = 4


class Moves(NamedTuple):
    """What happens to each image of a batch.

    Attributes:
      flip: [B] whether it is mirrored left to right.
      down: [B] first row of the crop in the bordered image, 0..2 * BORDER; BORDER leaves it in place.
      right: [B] its first column.
    """

    flip: Bool[AnyArray, "batch"]
    down: Int[AnyArray, "batch"]
    right: Int[AnyArray, "batch"]


def draw(kind: Augmentation, batch: int, key: Key) -> Moves:
    """Draws the moves of a batch: flips with probability 1/2, crops uniformly.

    Args:
      kind: "none" leaves every image as it is; "crops" never flips.
      batch: B.
      key: Of this step of this model.
    """
    if kind == "none":
        still = jnp.full(batch, BORDER)
        return Moves(jnp.zeros(batch, bool), still, still)
    flips, crops = jax.random.split(key)
    down, right = jax.random.randint(crops, (2, batch), 0, 2 * BORDER + 1)
    flip = jax.random.bernoulli(flips, 0.5, (batch,)) & (kind == "flips and crops")
    return Moves(flip, down, right)


def move(
    moves: Moves, images: Num[AnyArray, "batch height width channels"]
) -> Num[Array, "batch height width channels"]:
    """Applies moves to stored images; their type stays."""
    images = jnp.asarray(images)
    shape = images.shape[1:]
    images = jnp.where(moves.flip[:, None, None, None], images[:, :, ::-1], images)
    sides = (BORDER, BORDER)
    bordered = jnp.pad(images, ((0, 0), sides, sides, (0, 0)), mode="reflect")

    def crop(image: Array, down: Array, right: Array) -> Array:
        return lax.dynamic_slice(image, (down, right, 0), shape)

    return jax.vmap(crop)(bordered, jnp.asarray(moves.down), jnp.asarray(moves.right))


def augment(
    kind: Augmentation, images: Num[AnyArray, "batch height width channels"], key: Key
) -> Num[Array, "batch height width channels"]:
    """Augments a batch of stored images at random.

    Args:
      kind: What may happen to an image.
      images: NHWC.
      key: Of this step of this model.
    """
    return move(draw(kind, images.shape[0], key), images)
