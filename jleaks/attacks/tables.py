"""What is made of all models, whoever is the target: orders and sums of one side of every record.

It takes one record's answers at a time, so that records are spread over the devices, block by block; then
every device has the whole (those of a CPU share it).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jleaks.attacks.bank_arrays import Arrays, blocks, of_cpu
from jleaks.attacks.bank_layout import Layout, Programs
from jleaks.attacks.orders import Ordered
from jleaks.attacks.reference_statistics import Tables
from jleaks.training import fleet, placement

# Numbers of an array of a CPU device's block, which then stays in its cache.
_BLOCK_VALUES = 1 << 19

# A role's, by what it has in common with others; see `shared_by`.
RoleTables = dict[str, Tables]


def shared_by(role: str, drawn: dict[str, dict[str, Any]]) -> str:
    """Names a role's tables: where nothing is drawn, either role has the same sides."""
    return role if drawn[role] else "every role"


def make(layout: Layout, mesh: Mesh, at_once: int) -> RoleTables:
    """Makes the tables, and leaves them on every device.

    Args:
      layout: The bank and its attacks.
      mesh: The devices.
      at_once: Targets that each of them will attack at a time.
    """
    roles = {shared_by(role, layout.drawn) for role in layout.targets.roles}
    if all(attack.references == "none" for attack in layout.programs.attacks):
        return {role: {} for role in roles}
    models, records = layout.arrays["member"].shape
    each = -(-records // mesh.size)
    if of_cpu(mesh):
        each = min(each, max(1, _BLOCK_VALUES // models))
    ranks = tuple((name, array.ndim) for name, array in sorted(layout.arrays.items()))
    program = _program(layout.programs, mesh, ranks)
    some, rooms = _some(layout, at_once), None
    for span, part in blocks(layout.arrays, each * mesh.size):
        parts = {name: placement.put_parts(a, mesh, a.ndim - 1) for name, a in part.items()}
        found = program(parts, layout.drawn, some)
        if mesh.size == 1 and each == records:
            # What a single device made stays where it is.
            return jax.tree.map(lambda leaf: leaf[0], found)
        if rooms is None:
            rooms = _over(lambda leaf, axis: placement.room(leaf, axis, records), found)
        fill = functools.partial(placement.fill, start=span.start)
        _over(lambda leaf, axis, room, fill=fill: fill(room, leaf, axis), found, rooms)
    return placement.put_shared(rooms, mesh)


def _over(fn: Callable[..., Any], found: RoleTables, *rest: RoleTables) -> RoleTables:
    """Maps over arrays, each with the axis that records are on: an order's first, all others' last."""

    def table(one: Any, *others: Any) -> Any:
        first = isinstance(one, Ordered)
        return jax.tree.map(
            lambda leaf, *more: fn(leaf, 0 if first else leaf.ndim - 2, *more), one, *others
        )

    return jax.tree.map(table, found, *rest, is_leaf=lambda one: isinstance(one, Ordered))


def shapes(layout: Layout, at_once: int) -> RoleTables:
    """Returns what `make` would, shapes alone."""
    given = layout.arrays, layout.drawn, _some(layout, at_once)
    return jax.eval_shape(functools.partial(_made, layout.programs), *given)


def _some(layout: Layout, at_once: int) -> dict[str, dict[str, Any]]:
    roles = layout.targets.roles
    some = np.arange(at_once) % len(layout.targets.truth.lists.near)
    return {role: {name: a[some] for name, a in refs.items()} for role, refs in roles.items()}


def _made(
    programs: Programs,
    arrays: Arrays,
    drawn: dict[str, dict[str, Any]],
    roles: dict[str, dict[str, Any]],
) -> RoleTables:
    tables: RoleTables = {}
    # Who leaves out fewer models is served by what is made for who leaves out more.
    for role, refs in sorted(roles.items(), key=lambda one: -one[1]["left_out"].shape[1]):
        mine = tables.setdefault(shared_by(role, drawn), {})
        # Of these scores nothing is used but the tables that they look at.
        programs.raw_scores(role, arrays, refs | drawn[role], tables=mine)
    return tables


@functools.cache
def _program(programs: Programs, mesh: Mesh, ranks: tuple[tuple[str, int], ...]) -> Any:
    def part(arrays: Arrays, drawn: Any, roles: Any) -> Any:
        # Every device's part, side by side.
        return jax.tree.map(lambda leaf: leaf[None], _made(programs, arrays, drawn, roles))

    columns = {name: PartitionSpec(*[None] * (rank - 1), "model") for name, rank in ranks}
    return fleet.spread("tables of bank", part, mesh, (columns, "shared", "shared"))
