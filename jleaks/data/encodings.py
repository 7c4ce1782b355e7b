"""From stored integers to network inputs, with statistics of the model owner's training part alone.

An encoding is a pair of pure functions for ONE model: `fit` looks at the model's own training records
and returns statistics; `encode` applies them to any batch.  Members and non-members always go through
the same statistics: standardising each group with its own, as the paper's released News code does,
would leak membership.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Num

from jleaks.arrays import AnyArray
from jleaks.data.tasks import ADULT_CATEGORIES, ADULT_NUMERIC, Encoding

# Those of tasks, and that of attack models.
Name = Encoding | Literal["posteriors"]
Statistics = dict[str, Array]

# Training records are summed in blocks of this many, so that no model ever holds a float copy of
# its whole training part.
_BLOCK = 128


def _member_sum(
    fn: Callable[[Array], Array],
    features: Num[AnyArray, "records ..."],
    indices: Int[AnyArray, "members"],
    count: Int[AnyArray, ""],
) -> Array:
    """Sums `fn(record)` over the first `count` of `indices`, block by block."""
    num_blocks = -(-indices.shape[0] // _BLOCK)
    padded = jnp.pad(indices, (0, num_blocks * _BLOCK - indices.shape[0]))

    def add(block: Array, total: Array) -> Array:
        rows = lax.dynamic_slice(padded, (block * _BLOCK,), (_BLOCK,))
        valid = block * _BLOCK + jnp.arange(_BLOCK) < count
        values = fn(features[rows])
        mask = valid.reshape((-1,) + (1,) * (values.ndim - 1))
        return total + jnp.where(mask, values, 0).sum(0)

    shape = jax.eval_shape(fn, features[:1]).shape[1:]
    return lax.fori_loop(0, num_blocks, add, jnp.zeros(shape, jnp.float32))


def _moments(
    values: Callable[[Array], Array], features: AnyArray, indices: AnyArray, count: AnyArray
) -> tuple[Array, Array]:
    """Mean and (population) standard deviation of `values(record)`, in two passes."""
    n = count.astype(jnp.float32)
    mean = _member_sum(values, features, indices, count) / n
    variance = _member_sum(lambda x: (values(x) - mean) ** 2, features, indices, count) / n
    return mean, jnp.sqrt(variance)


def _floats(x: Array) -> Array:
    return x.astype(jnp.float32)


def _adult_numbers(x: Array) -> Array:
    return x[..., : len(ADULT_NUMERIC)].astype(jnp.float32)


def fit(
    encoding: str,
    features: Num[AnyArray, "records ..."],
    indices: Int[AnyArray, "members"],
    count: Int[AnyArray, ""],
) -> Statistics:
    """Fits an encoding's statistics on one model's training part.

    Args:
      encoding: "pixels", "binary", "terms", "mixed" or "posteriors".
      features: [N, ...] stored records.
      indices: [n] positions of the model's training records in `features`, padded to n.
      count: How many of `indices` are valid.

    Returns:
      pixels: per-pixel `mean` and `std`, the latter at least one grey level (a pixel that never
        changes is not blown up); mixed: `mean` and `std` of the numeric columns; terms: `idf` =
        ln((1+n)/(1+df)) + 1, scikit-learn's smoothed form; otherwise nothing.
    """
    if encoding == "pixels":
        mean, std = _moments(_floats, features, indices, count)
        return {"mean": mean, "std": jnp.maximum(std, 1.0)}
    if encoding == "mixed":
        mean, std = _moments(_adult_numbers, features, indices, count)
        return {"mean": mean, "std": jnp.where(std > 0, std, 1.0)}
    if encoding == "terms":
        documents = _member_sum(lambda x: _floats(x > 0), features, indices, count)
        return {"idf": jnp.log((1.0 + count.astype(jnp.float32)) / (1.0 + documents)) + 1.0}
    return {}


def encode(
    encoding: str, statistics: Statistics, records: Num[AnyArray, "batch ..."]
) -> Float[Array, "batch ..."]:
    """Turns a batch of stored records into float32 network inputs.

    Args:
      encoding: As in `fit`; "posteriors" (attack models) multiplies by `statistics["mask"]`, which
        says how many of the largest posteriors the model may see.
      statistics: What `fit` returned for this model.
      records: [B, ...] stored records.

    Returns:
      [B, ...] float32: images keep their shape; "mixed" becomes standardised numbers followed by
      one-hot categories; "terms" becomes L2-normalised TF-IDF.

    Raises:
      ValueError: there is no such encoding.
    """
    records = jnp.asarray(records)
    if encoding == "pixels":
        return (records.astype(jnp.float32) - statistics["mean"]) / statistics["std"]
    if encoding == "binary":
        return records.astype(jnp.float32)
    if encoding == "terms":
        weights = records.astype(jnp.float32) * statistics["idf"]
        norm = jnp.sqrt((weights**2).sum(-1, keepdims=True))
        return weights / jnp.where(norm > 0, norm, 1.0)
    if encoding == "mixed":
        numbers = (_adult_numbers(records) - statistics["mean"]) / statistics["std"]
        codes = records[..., len(ADULT_NUMERIC) :]
        one_hot = [
            jax.nn.one_hot(codes[..., i], size, dtype=jnp.float32)
            for i, size in enumerate(ADULT_CATEGORIES.values())
        ]
        return jnp.concatenate([numbers, *one_hot], axis=-1)
    if encoding == "posteriors":
        return records * statistics["mask"]
    raise ValueError(f"no encoding {encoding!r}")
