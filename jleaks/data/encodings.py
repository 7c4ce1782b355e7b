"""From stored records to network inputs, with statistics of the model owner's training part alone.

An encoding has two pure functions for ONE model: `fit` looks at the model's own training records and
returns statistics; `encode` applies them to any batch.  Members and non-members always go through
the same statistics: standardising each group with its own, as the paper's released News code does,
would leak membership.  `points` draws adversary 3's random records.

Encodings are a registry; one of your own (`ENCODINGS.register("logs", Encoding(...))`) is named by a
task's `encoding`.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Num

from jleaks.arrays import AnyArray
from jleaks.data.tasks import ADULT_CATEGORIES, Task
from jleaks.errors import InputError
from jleaks.fields import Range, whole_number
from jleaks.registry import Registry

Statistics = dict[str, Array]
# Makes an encoding's input of a batch of records.
EncodeFn = Callable[[Statistics, Array], Array]
# Fits statistics on the first `count` of `indices` into the records.
FitFn = Callable[[AnyArray, AnyArray, AnyArray], Statistics]
# Draws [count, *shape] random records of a task.
PointsFn = Callable[[np.random.Generator, Task, tuple[int, ...], int], np.ndarray]

# Training records are summed in blocks of this many, so that no model ever holds a float copy of
# its whole training part.
_BLOCK = 128
# Words in a random post.
_POST_LENGTH = 100
# What a number is divided by that never changes in a model's training part: it says nothing.
_SILENT = float(np.finfo(np.float32).max)


def uniform(
    generator: np.random.Generator, task: Task, shape: tuple[int, ...], count: int
) -> np.ndarray:
    """Draws records uniformly within the task's ranges, whole numbers where it stores such."""
    return _numbers(generator, task, count).reshape(count, *shape)


def _numbers(generator: np.random.Generator, task: Task, count: int) -> np.ndarray:
    """Draws [count, number of ranges] numbers, column by column."""
    drawn: list[np.ndarray]
    if np.issubdtype(np.dtype(task.feature_dtype), np.integer):
        drawn = [generator.integers(int(low), int(high) + 1, count) for low, high in task.ranges]
    else:
        drawn = [generator.uniform(low, high, count) for low, high in task.ranges]
    return np.stack(drawn, axis=1) if drawn else np.zeros((count, 0), np.int64)


@dataclasses.dataclass(frozen=True, eq=False)
class Encoding:
    """How stored records become network inputs.

    Attributes:
      encode: Makes float32 inputs [B, ...] of statistics and records [B, ...].
      fit: Makes statistics of features [N, ...], indices [n] into them and how many of these are valid; by
        default there are none.
      points: Draws random records [R, ...] of a task, given a generator, the task, a record's shape and R;
        by default uniform within the task's `ranges`.
      is_sparse: Whether inputs are zeros but for a few: forests then keep them as such.
      continuous: Whether any point near a record may stand for another (grey levels, numbers; not zeros
        and ones, codes or counts).
    """

    encode: EncodeFn
    fit: FitFn = lambda features, indices, count: {}  # noqa: ARG005
    points: PointsFn = uniform
    is_sparse: bool = False
    continuous: bool = True


ENCODINGS: Registry[Encoding] = Registry("encoding", besides=("columns",))

# Those of tasks, and that of attack models.
Name = Annotated[
    str,
    Range(
        "the name of a registered encoding",
        lambda name: name in ENCODINGS or _columns_named(name) is not None,
    ),
]


def fit(
    encoding: str,
    features: Num[AnyArray, "records ..."],
    indices: Int[AnyArray, "members"],
    count: Int[AnyArray, ""],
) -> Statistics:
    """Fits an encoding's statistics on one model's training part.

    Args:
      encoding: Name of an encoding.
      features: [N, ...] stored records.
      indices: [n] positions of the model's training records in `features`, padded to n.
      count: How many of `indices` are valid.

    Returns:
      pixels: per-pixel `mean` and `std`, the latter at least one grey level (a pixel that never
        changes is not blown up); real, columns and mixed: `mean` and `std` of the numbers; terms: `idf` =
        ln((1+n)/(1+df)) + 1, scikit-learn's smoothed form; otherwise nothing.

    Raises:
      InputError: there is no such encoding.
    """
    return _used(encoding).fit(features, indices, count)


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
      [B, ...] float32: images and numbers keep their shape; "columns" and "mixed" become standardised
      numbers followed by one-hot categories; "terms" becomes L2-normalised TF-IDF.

    Raises:
      InputError: there is no such encoding.
    """
    return _used(encoding).encode(statistics, jnp.asarray(records))


# What compiled programs have in them, by its name.
_USED: dict[str, Encoding] = {}


def _used(name: str) -> Encoding:
    return _USED.setdefault(name, find(name))


def columns(sizes: Sequence[int], constant: float = _SILENT) -> Encoding:
    """Returns the encoding of a table: numbers, then codes of categories.

    Numbers are standardised with the mean and (population) standard deviation of the model's own training
    part; a code becomes zeros and a one.

    Args:
      sizes: How many categories each column of codes has, the last columns of a record; may be empty.
      constant: What a number is divided by that never changes in the training part.
    """
    num_codes = len(sizes)

    def numbers(x: Array) -> Array:
        return (x[..., : x.shape[-1] - num_codes] if num_codes else x).astype(jnp.float32)

    def fit(features: AnyArray, indices: AnyArray, count: AnyArray) -> Statistics:
        mean, std = _moments(numbers, features, indices, count)
        first = numbers(features[indices[0]])
        # The mean of equal numbers need not be that number in float32: their deviation is no zero.
        other = _member_sum(lambda x: _floats(numbers(x) != first), features, indices, count)
        return {"mean": mean, "std": jnp.where((std > 0) & (other > 0), std, constant)}

    def encode(statistics: Statistics, records: Array) -> Array:
        found = (numbers(records) - statistics["mean"]) / statistics["std"]
        if not num_codes:
            return found
        codes = records[..., records.shape[-1] - num_codes :].astype(jnp.int32)
        one_hot = [
            jax.nn.one_hot(codes[..., i], size, dtype=jnp.float32) for i, size in enumerate(sizes)
        ]
        return jnp.concatenate([found, *one_hot], axis=-1)

    def points(
        generator: np.random.Generator, task: Task, shape: tuple[int, ...], count: int
    ) -> np.ndarray:
        drawn = _numbers(generator, task, count)
        codes = [generator.integers(0, size, count) for size in sizes]
        return np.column_stack([drawn, *codes]).reshape(count, *shape)

    return Encoding(encode, fit, points, continuous=not num_codes)


@functools.lru_cache(maxsize=64)
def _columns_named(name: str) -> Encoding | None:
    """Returns the encoding that a name such as "columns-9.16.7" spells out, or None."""
    first, separator, rest = name.partition("-")
    words = rest.split(".")
    counts = [whole_number(word) for word in words]
    if first != "columns" or not separator or not all(counts):
        return None
    return columns(tuple(count for count in counts if count))


def find(name: str) -> Encoding:
    """Returns the encoding called `name`.

    Args:
      name: Of a registered encoding, or "columns-9.16.7": numbers followed by codes of 9, 16 and 7
        categories.

    Raises:
      InputError: there is none; or it was registered anew after programs were compiled with the former.
    """
    if (spelt := _columns_named(name)) is not None:
        return spelt
    found = ENCODINGS.find(name)
    if _USED.get(name, found) is not found:
        raise InputError(
            f"encoding {name!r} was registered anew after it had been used: restart Python, or give it "
            "another name"
        )
    return found


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


def _fit_pixels(features: AnyArray, indices: AnyArray, count: AnyArray) -> Statistics:
    mean, std = _moments(_floats, features, indices, count)
    return {"mean": mean, "std": jnp.maximum(std, 1.0)}


def _encode_pixels(statistics: Statistics, records: Array) -> Array:
    return (records.astype(jnp.float32) - statistics["mean"]) / statistics["std"]


def _fit_terms(features: AnyArray, indices: AnyArray, count: AnyArray) -> Statistics:
    documents = _member_sum(lambda x: _floats(x > 0), features, indices, count)
    return {"idf": jnp.log((1.0 + count.astype(jnp.float32)) / (1.0 + documents)) + 1.0}


def _encode_terms(statistics: Statistics, records: Array) -> Array:
    weights = records.astype(jnp.float32) * statistics["idf"]
    norm = jnp.sqrt((weights**2).sum(-1, keepdims=True))
    return weights / jnp.where(norm > 0, norm, 1.0)


def _levels(
    num_levels: int, generator: np.random.Generator, _: Task, shape: tuple[int, ...], count: int
) -> np.ndarray:
    return generator.integers(0, num_levels, (count, *shape))


def _posts(
    generator: np.random.Generator, _: Task, shape: tuple[int, ...], count: int
) -> np.ndarray:
    points = np.zeros((count, *shape), np.int64)
    words = generator.integers(0, shape[0], (count, _POST_LENGTH))
    np.add.at(points, (np.arange(count)[:, None], words), 1)
    return points


# Grey levels 0..255: uniform ones are random points.
ENCODINGS.register("pixels", Encoding(_encode_pixels, _fit_pixels, functools.partial(_levels, 256)))
# Zeros and ones: fair coins.
ENCODINGS.register(
    "binary",
    Encoding(
        lambda _, records: _floats(records), points=functools.partial(_levels, 2), continuous=False
    ),
)
# Counts of words: posts of 100 words drawn uniformly from the vocabulary.
ENCODINGS.register(
    "terms", Encoding(_encode_terms, _fit_terms, _posts, is_sparse=True, continuous=False)
)
# Adult's columns (`tasks.ADULT_NUMERIC`, `ADULT_CATEGORIES`).
ENCODINGS.register("mixed", columns(tuple(ADULT_CATEGORIES.values()), constant=1.0))
# Numbers: uniform ones within their ranges.
ENCODINGS.register("real", columns(()))
# Of attack models, which see posteriors.
ENCODINGS.register("posteriors", Encoding(lambda statistics, x: x * statistics["mask"]))
