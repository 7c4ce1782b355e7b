"""The bank's evaluator: every attack on every model of a bank, in one compiled call.

What is made of all models is made once (`jleaks.attacks.tables`).  Then targets are spread over the
devices: each attacks and measures its own with the answers of all models, which every device has, as many
at a time as serves it (on a CPU one, whose arrays stay in the cache), and nothing passes between them.
*Scores* need one record's answers from all models, *metrics* one target's scores of all records: a bank of
which not even these fit is scored in blocks of records, whose scores wait on the host.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array

from jleaks.activity import doing
from jleaks.attacks import tables
from jleaks.attacks.attack import Attack
from jleaks.attacks.bank import Bank
from jleaks.attacks.bank_arrays import (
    RECORDS,
    Arrays,
    blocks,
    records_at_once,
    targets_at_once,
)
from jleaks.attacks.bank_layout import Layout, Programs, Targets, layout_of
from jleaks.attacks.bank_scores import (
    Shared,
    Truth,
    finish,
    finished,
)
from jleaks.attacks.options import Options
from jleaks.attacks.references import References
from jleaks.attacks.tables import RoleTables
from jleaks.errors import InputError
from jleaks.metrics import bank_metrics
from jleaks.metrics.bank_metrics import BankMetrics
from jleaks.training import fleet, placement


class NonFiniteScoresError(InputError):
    """Scores that cannot be ranked; `attacks` names theirs."""

    def __init__(self, message: str, attacks: list[str]):
        super().__init__(message)
        self.attacks = attacks


@doing("attacking and evaluating the bank")
def evaluate(
    bank: Bank,
    attacks: Sequence[Attack],
    references: References,
    shadows: References | None,
    mesh: Mesh,
    options: Options | None = None,
    records_per_block: int | None = None,
) -> BankMetrics:
    """Runs attacks on targets.

    Args:
      bank: Answers and membership.
      attacks: Which to run; `refusal` must be None for each.
      references: The targets and what each is compared with.
      shadows: For each target a shadow and what that is compared with; attacks that cannot be run on
        shadows (`no_shadow`) have no threshold, which is NaN.
      mesh: Devices to spread the work over.
      options: Parameters of attacks.
      records_per_block: Records scored at a time; None for all, if they fit for a target a device.

    Raises:
      InputError: an attack cannot be run on this bank.
      NonFiniteScoresError: an attack has scores that cannot be ranked.
    """
    layout = layout_of(bank, attacks, references, shadows, options, mesh)
    given = layout.arrays, attacks, len(references.targets), mesh
    at_once = targets_at_once(*given)
    if at_once and (records_per_block or len(bank.labels)) >= len(bank.labels):
        metrics = _gathered(*_called(_whole_program, layout, mesh, at_once))
    else:
        metrics = _streamed(layout, mesh, records_per_block or records_at_once(*given))
    _refuse(attacks, metrics.non_finite, metrics.first_non_finite, references)
    return metrics


def lowered(
    bank: Bank,
    attacks: Sequence[Attack],
    references: References,
    shadows: References | None,
    mesh: Mesh,
) -> jax.stages.Lowered:
    """Returns the program of `evaluate` for a bank as a whole, to be compiled for devices not there."""
    layout = layout_of(bank, attacks, references, shadows, None, mesh)
    count = len(references.targets)
    at_once = targets_at_once(layout.arrays, attacks, count, mesh) or mesh.size
    made = tables.shapes(layout, at_once // mesh.size)
    shared = placement.like((layout.arrays, layout.drawn, made), mesh, placement.SHARED)
    mine = placement.like(_spread(layout.targets, at_once), mesh, placement.MODEL)
    return _whole_program(layout.programs, mesh, at_once // mesh.size).lower(*shared, mine)


def scores(
    bank: Bank,
    attacks: Sequence[Attack],
    references: References,
    shadows: References | None = None,
    options: Options | None = None,
    mesh: Mesh | None = None,
) -> dict[str, np.ndarray]:
    """Returns every attack's scores by name, [T, N] each, population records included.

    Args:
      bank: Answers and membership.
      attacks: Whose scores.
      references: As of `evaluate`.
      shadows: As of `evaluate`.
      options: Parameters of attacks.
      mesh: Devices to spread the work over; None for JAX's first.

    Raises:
      InputError: an attack cannot be run on this bank.
      NonFiniteScoresError: an attack has scores of audited records that cannot be ranked.
    """
    mesh = fleet.make_mesh(1) if mesh is None else mesh
    layout = layout_of(bank, attacks, references, shadows, options, mesh)
    count = len(references.targets)
    at_once = targets_at_once(layout.arrays, attacks, count, mesh) or mesh.size
    rows, _ = _called(_score_program, layout, mesh, at_once)
    found = placement.fetch(rows, count)
    bad = np.stack([~np.isfinite(rows) for rows in found]) & references.audited(bank)
    _refuse(attacks, bad.sum(-1), bad.argmax(-1), references)
    return {a.name: rows for a, rows in zip(attacks, found, strict=True)}


def _refuse(
    attacks: Sequence[Attack], counts: np.ndarray, first: np.ndarray, references: References
) -> None:
    """Raises where scores cannot be ranked, naming attack, target and record.

    Args:
      attacks: A of them.
      counts: [A, T] scores that are not finite.
      first: [A, T] records of the first of them.
      references: The targets.
    """
    found = {}
    for attack, mine, records in zip(attacks, counts, first, strict=True):
        bad = np.flatnonzero(mine)
        if bad.size:
            found[attack.name] = (
                f"{attack.name} has {int(mine.sum())} scores that are not finite on {bad.size} "
                f"targets (first: target {references.targets[bad[0]]}, record {records[bad[0]]})"
            )
    if found:
        raise NonFiniteScoresError("; ".join(found.values()), list(found))


def _called(
    program_of: Callable[[Programs, Mesh, int], Any], layout: Layout, mesh: Mesh, at_once: int
) -> tuple[Any, int]:
    """Calls a program with all targets; returns what it found, and the number of targets."""
    made = tables.make(layout, mesh, at_once // mesh.size)
    shared = placement.put_shared((layout.arrays, layout.drawn), mesh)
    mine, _ = placement.put_models(_spread(layout.targets, at_once), mesh)
    found = program_of(layout.programs, mesh, at_once // mesh.size)(*shared, made, mine)
    return found, len(layout.targets.truth.lists.near)


@functools.cache
def _score_program(programs: Programs, mesh: Mesh, at_once: int) -> Any:
    def score(
        arrays: Arrays, drawn: dict[str, Any], made: RoleTables, mine: tuple[Targets, Array]
    ) -> list[Array]:
        def several(targets: Targets) -> list[Array]:
            shared = Shared.of(arrays, targets.truth, programs.kernels)
            rows_of = []
            found = _raw_of_roles(programs, arrays, drawn, made, targets)
            for attack, raw in zip(programs.attacks, found, strict=True):
                rows = {**raw, "at": jnp.arange(len(raw["target"]))}
                one = functools.partial(
                    finish, attack.ending, programs.options, shared=shared, num_classes=programs.num_classes
                )  # fmt: skip
                rows_of.append(lax.map(lambda r, one=one: one(r)[0], rows))
            return rows_of

        return _joined(lax.map(several, _in_steps(mine[0], at_once)))

    return fleet.spread("score bank", score, mesh, (*["shared"] * 3, "models"))


def _in_steps(targets: Any, at_once: int) -> Any:
    """Cuts one device's targets into steps of so many, [steps, at_once, ...]."""

    def cut(leaf: Array) -> Array:
        return leaf.reshape(leaf.shape[0] // at_once, at_once, *leaf.shape[1:])

    return jax.tree.map(cut, targets)


def _joined(steps: Any) -> Any:
    """Undoes `_in_steps`."""
    return jax.tree.map(lambda leaf: lax.collapse(leaf, 0, 2), steps)


def _raw_of_roles(
    programs: Programs, arrays: Arrays, drawn: dict[str, Any], made: RoleTables, targets: Targets
) -> list[dict[str, Array]]:
    """Returns each attack's raw scores by role; a shadow's only where it can be attacked."""
    found: list[dict[str, Array]] = [{} for _ in programs.attacks]
    for role, refs in targets.roles.items():
        mine = dict(made[tables.shared_by(role, drawn)])
        rows_of, _ = programs.raw_scores(role, arrays, refs | drawn[role], tables=mine)
        for i, rows in zip(programs.of(role), rows_of, strict=True):
            found[i][role] = rows
    return found


def _metrics_of(
    programs: Programs,
    raw: list[dict[str, Array]],
    shared: Shared,
    weight: Array,
    sums: Array,
) -> tuple[BankMetrics, Array]:
    """Some of one device's targets, evaluated from their raw scores.

    Rows, one target's scores by one attack, are finished group by group (`Programs.groups`) and measured
    by one loop over all of them, as metrics take long to compile.

    Args:
      programs: What is run.
      raw: Of each attack by role, targets on axis 0.
      shared: What all rows share.
      weight: [targets] 0 for one that only fills the devices up.
      sums: Of influences so far, [attacks, influences, N].

    Returns:
      Metrics [targets, attacks, ...], and the sums with these.
    """
    count, together = len(weight), programs.together
    groups, places, end = [], np.empty((count, len(programs.attacks)), np.int32), 0
    for at in programs.groups().values():
        rows = {role: _side_by_side([raw[i][role] for i in at]) for role in raw[at[0]]}
        rows["at"] = jnp.tile(jnp.arange(count), len(at))
        rows["attack"] = jnp.repeat(jnp.array(at), count)
        rows["weight"] = jnp.tile(weight, len(at))
        groups.append(bank_metrics.pad(rows, together))
        places[:, at] = end + np.arange(len(at) * count).reshape(len(at), count).T
        end += len(groups[-1]["at"])

    def measured(row: dict[str, Array]) -> tuple[BankMetrics, bank_metrics.Measured]:
        ranked = shared.rank("target", row["target"], row["at"])
        return bank_metrics.evaluate_row(ranked, shared.lists.near[row["at"]], row["level"])

    scores, start, ends = jnp.zeros((end, shared.labels.shape[0]), jnp.float32), 0, []
    for (ending, _), rows in zip(programs.groups(), groups, strict=True):
        one = functools.partial(
            finished, ending, programs.options, shared=shared, num_classes=programs.num_classes
        )
        scores, rest = bank_metrics.filled(one, scores, start, rows, together)
        start += len(rows["at"])
        ends.append(rest)
    found = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *ends)
    every = {
        name: jnp.concatenate([r[name] for r in groups]) for name in ("at", "attack", "weight")
    }
    every |= {"target": scores, "level": found.level}
    metrics, sums = bank_metrics.in_turn(
        measured, sums, every, together, programs.kernels.add_influence
    )
    metrics = metrics._replace(
        variant=found.variant,
        non_finite=found.non_finite,
        first_non_finite=found.first_non_finite,
    )
    return jax.tree.map(lambda leaf: leaf[places], metrics), sums


def _side_by_side(parts: Sequence[Array]) -> Array:
    """Concatenates on axis 0, part by part: XLA would choose among all that made them for every number."""
    count = len(parts[0])
    found = jnp.zeros((len(parts) * count, *parts[0].shape[1:]), parts[0].dtype)
    for i, part in enumerate(parts):
        found = lax.dynamic_update_slice_in_dim(found, part, i * count, 0)
    return found


@functools.cache
def _whole_program(programs: Programs, mesh: Mesh, at_once: int) -> Any:
    def evaluate(
        arrays: Arrays, drawn: dict[str, Any], made: RoleTables, mine: tuple[Targets, Array]
    ) -> tuple[BankMetrics, Array]:
        def several(sums: Array, some: tuple[Targets, Array]) -> tuple[Array, BankMetrics]:
            targets, weight = some
            shared = Shared.of(arrays, targets.truth, programs.kernels)
            raw = _raw_of_roles(programs, arrays, drawn, made, targets)
            metrics, sums = _metrics_of(programs, raw, shared, weight, sums)
            return sums, metrics

        nothing = _no_influence(programs, arrays)
        sums, metrics = lax.scan(several, nothing, _in_steps(mine, at_once))
        return _joined(metrics), sums[None]

    return fleet.spread("evaluate bank", evaluate, mesh, (*["shared"] * 3, "models"))


def _no_influence(programs: Programs, arrays: Arrays) -> Array:
    shape = len(programs.attacks), len(bank_metrics.INFLUENCES), arrays["labels"].shape[0]
    return jnp.zeros(shape, jnp.float32)


def _spread(targets: Any, multiple: int) -> tuple[Any, np.ndarray]:
    """Repeats the last target up to a multiple, on the host; also returns which of them count."""
    count = jax.tree.leaves(targets)[0].shape[0]
    number = np.arange(-(-count // multiple) * multiple)
    if len(number) > count:
        targets = jax.tree.map(lambda leaf: leaf[np.minimum(number, count - 1)], targets)
    return targets, number < count


def _gathered(found: tuple[BankMetrics, Array], count: int) -> BankMetrics:
    """Returns the metrics of the first so many targets, [attacks, targets, ...], on the host."""
    metrics, sums = placement.fetch(found[0], count), np.asarray(found[1])
    metrics = jax.tree.map(lambda leaf: np.moveaxis(leaf, 0, 1), metrics)
    return metrics._replace(influence=sums.sum(0))


@functools.cache
def _block_programs(programs: Programs, role: str, mesh: Mesh) -> tuple[Any, Any]:
    """Returns the programs that score a block of records, and that sum up what needs all records."""

    def block(arrays: Arrays, drawn: Any, refs: dict[str, Array], totals: Any) -> list[Array]:
        return programs.raw_scores(role, arrays, refs | drawn, totals)[0]

    def totals(arrays: Arrays, drawn: Any, refs: dict[str, Array]) -> dict[str, Array]:
        return programs.raw_scores(role, arrays, refs | drawn)[1].totals

    given = ("shared", "shared", "models")
    return (
        fleet.spread("score block", block, mesh, (*given, "models")),
        fleet.spread("sum block", totals, mesh, given),
    )


def _raw_in_blocks(layout: Layout, role: str, mesh: Mesh, block: int) -> dict[int, np.ndarray]:
    """Returns raw scores on a role's models by the attack's place, on the host."""
    places, records = layout.programs.of(role), layout.arrays["labels"].shape[0]
    score, total = _block_programs(layout.programs, role, mesh)
    drawn = layout.drawn[role]
    refs, count = placement.put_models(layout.targets.roles[role], mesh)
    sums: dict[str, np.ndarray] = {}
    for _, part in blocks(layout.arrays, block):
        for name, value in total(placement.put_shared(part, mesh), drawn, refs).items():
            sums[name] = sums.get(name, 0) + np.asarray(value, np.float64)
    totals = {name: np.asarray(value, np.float32) for name, value in sums.items()}
    found: dict[int, np.ndarray] = {}
    for span, part in blocks(layout.arrays, block):
        raw = score(placement.put_shared(part, mesh), drawn, refs, totals)
        for i, values in zip(places, placement.fetch(raw, count), strict=True):
            if i not in found:
                found[i] = np.empty((*values.shape[:-1], records), np.float32)
            found[i][..., span] = values[..., : span.stop - span.start]
    return found


@functools.cache
def _rows_program(programs: Programs, mesh: Mesh) -> Any:
    """Returns the program that evaluates targets by one attack, from its raw scores by role."""

    def rows(
        arrays: Arrays, mine: tuple[tuple[dict[str, Array], Truth], Array]
    ) -> tuple[BankMetrics, Array]:
        (raw, truth), weight = mine
        shared, sums = Shared.of(arrays, truth, programs.kernels), _no_influence(programs, arrays)
        metrics, sums = _metrics_of(programs, [raw], shared, weight, sums)
        return metrics, sums[None]

    return fleet.spread("evaluate rows", rows, mesh, ("shared", "models"))


def _in_calls(
    program: Any, shared: Any, targets: Any, count: int, per_call: int, mesh: Mesh
) -> BankMetrics:
    """Evaluates so many targets, `per_call` of them in a call: not all of their scores fit."""
    calls = []
    for start in range(0, count, per_call):
        some = jax.tree.map(lambda leaf, at=start: leaf[at : at + per_call], targets)
        mine, _ = placement.put_models(_spread(some, per_call), mesh)
        calls.append(_gathered(program(shared, mine), min(per_call, count - start)))
    influence = sum(call.influence for call in calls)
    rest = [call._replace(influence=()) for call in calls]
    whole = jax.tree.map(lambda *leaves: np.concatenate(leaves, 1), *rest)
    return whole._replace(influence=influence)


def _streamed(layout: Layout, mesh: Mesh, block: int) -> BankMetrics:
    """The same in blocks of records; scores lie on the host between the two stages."""
    arrays, _, (roles, truth), programs = layout
    records, targets = arrays["labels"].shape[0], len(truth.lists.near)
    found = {role: _raw_in_blocks(layout, role, mesh, block) for role in roles}
    shared = placement.put_shared({name: arrays[name] for name in RECORDS}, mesh)
    multiple = mesh.size * programs.together
    per_call = max(1, block * targets // records // multiple) * multiple
    parts = []
    for i, attack in enumerate(programs.attacks):
        # Of one ending, attacks share a program.
        alone = dataclasses.replace(
            programs,
            attacks=(next(a for a in programs.attacks if a.ending == attack.ending),),
            attackable=programs.attackable[i : i + 1],
        )
        mine = {role: raw[i] for role, raw in found.items() if i in raw}, truth
        parts.append(_in_calls(_rows_program(alone, mesh), shared, mine, targets, per_call, mesh))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
