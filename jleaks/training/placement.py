"""Where a pack lies: padded and spread over the devices, copied back to the host."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

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

    return jax.device_put(jax.tree.map(pad, pack), NamedSharding(mesh, MODEL)), count


def put_shared(tree: Any, mesh: Mesh) -> Any:
    """Places arrays whole on every device."""
    return jax.device_put(tree, NamedSharding(mesh, SHARED))


def like(tree: Any, mesh: Mesh, spec: PartitionSpec) -> Any:
    """Returns what arrays would be if they were placed so (`MODEL`, `SHARED`), shapes alone."""
    place = NamedSharding(mesh, spec)
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), tree)


def fetch(tree: Any, count: int) -> Any:
    """Copies the first `count` models of a pack to the host, once, device by device."""
    # All leaves are on their way before the first is waited for.
    for leaf in jax.tree.leaves(tree):
        leaf.copy_to_host_async()

    def one(leaf: jax.Array) -> np.ndarray:
        found = np.empty((count, *leaf.shape[1:]), leaf.dtype)
        for shard in leaf.addressable_shards:
            span = found[shard.index[0]]
            span[...] = np.asarray(shard.data)[: len(span)]
        return found

    return jax.tree.map(one, tree)
