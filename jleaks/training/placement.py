"""Where a pack lies: padded and spread over the devices, copied back to the host."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jleaks.alignment import aligned, empty
from jleaks.training import processes

MODEL = PartitionSpec("model")
SHARED = PartitionSpec()


def padded_size(count: int, mesh: Mesh, group: int, least: int = 0) -> int:
    """Returns how many models `count`, or `least`, become: on every device equally many whole groups."""
    count = max(count, least)
    per_device = -(-count // mesh.size)
    if per_device > group:
        per_device = -(-per_device // group) * group
    return per_device * mesh.size


def put_models(pack: Any, mesh: Mesh, group: int = 1, least: int = 0) -> tuple[Any, int]:
    """Pads a host pack and spreads it over the devices.

    Args:
      pack: Arrays with models on axis 0.
      mesh: The devices.
      group: Models of one device that advance together.
      least: Models that it is padded to.

    Returns:
      The pack, its last model repeated until every device has equally many whole groups, and its
      true size.
    """
    count = jax.tree.leaves(pack)[0].shape[0]
    surplus = padded_size(count, mesh, group, least) - count

    def pad(leaf: np.ndarray) -> np.ndarray:
        return np.concatenate([leaf, np.repeat(leaf[-1:], surplus, 0)]) if surplus else leaf

    return _put(_of_cpu(jax.tree.map(pad, pack), mesh), NamedSharding(mesh, MODEL)), count


def put_shared(tree: Any, mesh: Mesh) -> Any:
    """Places arrays whole on every device; those of a CPU share one copy."""
    return _put(_of_cpu(tree, mesh), NamedSharding(mesh, SHARED))


def put_parts(array: np.ndarray, mesh: Mesh, axis: int) -> Any:
    """Places one part of an array on every device, cut along an axis."""
    return _put(array, NamedSharding(mesh, PartitionSpec(*[None] * axis, "model")))


def room(parts: jax.Array, axis: int, size: int) -> np.ndarray:
    """Returns an empty array on the host for the whole that devices make parts of; see `fill`."""
    shape = *parts.shape[1 : axis + 1], size, *parts.shape[axis + 2 :]
    return empty(shape, parts.dtype)


def fill(whole: np.ndarray, parts: jax.Array, axis: int, start: int) -> None:
    """Puts what every device made where it belongs in the whole.

    Args:
      whole: On the host.
      parts: Of all devices, stacked on axis 0.
      axis: Of the whole, along which parts lie side by side.
      start: Of the first part; what lies behind the whole's end is padding.
    """
    each, rows = parts.shape[axis + 1], np.moveaxis(whole, axis, 0)
    for number, part in enumerate(fetch(parts, len(parts))):
        mine = rows[start + number * each : start + (number + 1) * each]
        mine[...] = np.moveaxis(part, axis, 0)[: len(mine)]


def _of_cpu(tree: Any, mesh: Mesh) -> Any:
    """Returns arrays as a CPU's devices take them without a copy each."""
    if mesh.devices.flat[0].platform != "cpu":
        return tree
    return jax.tree.map(lambda a: aligned(a) if isinstance(a, np.ndarray) else a, tree)


def _put(tree: Any, place: NamedSharding) -> Any:
    if processes.count() == 1:
        return jax.device_put(tree, place)

    # Every process has the whole, and moves what its own devices hold of it; `device_put` would compare
    # the wholes first.
    def one(leaf: Any) -> jax.Array:
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, place, lambda part: whole[part])

    return jax.tree.map(one, tree)


def like(tree: Any, mesh: Mesh, spec: PartitionSpec) -> Any:
    """Returns what arrays would be if they were placed so (`MODEL`, `SHARED`), shapes alone."""
    place = NamedSharding(mesh, spec)
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), tree)


def fetch(tree: Any, count: int) -> Any:
    """Copies the first `count` models of a pack to the host, once, device by device; to all processes."""
    # All leaves are on their way before the first is waited for.
    for leaf in jax.tree.leaves(tree):
        leaf.copy_to_host_async()

    def one(leaf: jax.Array) -> np.ndarray:
        found = np.empty((count, *leaf.shape[1:]), leaf.dtype)
        for shard in leaf.addressable_shards:
            span = found[shard.index[0]]
            span[...] = np.asarray(shard.data)[: len(span)]
        return found

    def gathered(leaf: jax.Array) -> np.ndarray:
        # A process's devices lie side by side in the mesh.
        shards = sorted(leaf.addressable_shards, key=lambda shard: shard.index[0].start or 0)
        own = np.concatenate([np.asarray(shard.data) for shard in shards])
        return processes.exchange(own).reshape(leaf.shape)[:count]

    return jax.tree.map(one if processes.count() == 1 else gathered, tree)
