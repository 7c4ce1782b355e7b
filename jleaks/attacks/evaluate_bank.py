"""The bank's evaluator: every attack on every model of a bank, in one compiled call.

Two stages.  *Scores* need one record's answers from all models: records are spread over the devices.
*Metrics* need one target's scores of all records: (attack, target) rows are spread over the devices.  A
bank that does not fit goes through the first stage in blocks of records, its scores waiting on the host.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from jleaks.activity import doing
from jleaks.attacks.attack import Attack, Ending
from jleaks.attacks.bank import Bank
from jleaks.attacks.bank_arrays import (
    Arrays,
    bank_arrays,
    blocks,
    fitting,
    like,
    put,
    reference_arrays,
    rows_together,
)
from jleaks.attacks.bank_scores import (
    Shared,
    Truth,
    finish,
    finished,
    raw_scores,
    shared_by_rows,
)
from jleaks.attacks.options import Options
from jleaks.attacks.references import References
from jleaks.attacks.requirements import no_shadow, refusal
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
      records_per_block: Records scored at a time; None for all if they fit.

    Raises:
      InputError: an attack cannot be run on this bank.
      NonFiniteScoresError: an attack has scores that cannot be ranked.
    """
    layout = _layout(bank, attacks, references, shadows, options)
    block = records_per_block or fitting(layout.arrays, attacks, len(references.targets), mesh)
    truth = placement.put_shared(layout.truth, mesh)
    if block >= (records := len(bank.labels)):
        roles = placement.put_shared(layout.roles, mesh)
        found = _whole_program(layout.programs, mesh)(put(layout.arrays, mesh), roles, truth)
        metrics = BankMetrics(*(np.asarray(leaf) for leaf in found))
        # What was padded for the devices is nobody's.
        metrics = metrics._replace(influence=metrics.influence[..., :records])
    else:
        metrics = _streamed(layout, truth, mesh, block)
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
    layout = _layout(bank, attacks, references, shadows, None)

    def shared(leaf: Any) -> jax.ShapeDtypeStruct:
        place = NamedSharding(mesh, PartitionSpec())
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)

    rest = jax.tree.map(shared, (layout.roles, layout.truth))
    return _whole_program(layout.programs, mesh).lower(like(layout.arrays, mesh), *rest)


def scores(
    bank: Bank,
    attacks: Sequence[Attack],
    references: References,
    shadows: References | None = None,
    options: Options | None = None,
) -> dict[str, np.ndarray]:
    """Returns every attack's scores by name, [T, N] each, population records included.

    Raises:
      InputError: an attack cannot be run on this bank.
      NonFiniteScoresError: an attack has scores of audited records that cannot be ranked.
    """
    layout = _layout(bank, attacks, references, shadows, options)
    found = [np.asarray(r) for r in _score_program(layout.programs)(*layout[:3])]
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


@dataclasses.dataclass(frozen=True)
class _Programs:
    """What programs are compiled for, besides shapes.

    Attributes:
      attacks: All that are run.
      attackable: Which of them can be run on shadows.
      options: Their parameters.
      num_classes: K.
    """

    attacks: tuple[Attack, ...]
    attackable: tuple[bool, ...]
    options: Options
    num_classes: int

    def of(self, role: str) -> list[int]:
        """Places of the attacks that are run on a role's models."""
        return [i for i, yes in enumerate(self.attackable) if yes or role == "target"]

    def groups(self) -> dict[tuple[Ending, bool], list[int]]:
        """Places of attacks that one program evaluates, by what comes after their raw scores."""
        found: dict[tuple[Ending, bool], list[int]] = {}
        for i, attack in enumerate(self.attacks):
            found.setdefault((attack.ending, self.attackable[i]), []).append(i)
        return found


class _Layout(NamedTuple):
    """A bank and its attacks, laid out for the device; see `bank_arrays`, `reference_arrays`, `Shared`."""

    arrays: Arrays
    roles: dict[str, dict[str, np.ndarray]]
    truth: Truth
    programs: _Programs


def _layout(
    bank: Bank,
    attacks: Sequence[Attack],
    references: References,
    shadows: References | None,
    options: Options | None,
) -> _Layout:
    """Refuses what cannot be run, and lays out the rest."""
    for attack in attacks:
        if (reason := refusal(attack, bank, references, shadows)) is not None:
            raise InputError(f"{attack.name} cannot be run: {reason}")
    attackable = tuple(no_shadow(attack, bank, shadows) is None for attack in attacks)
    roles = {"target": references}
    if shadows is not None and any(attackable):
        roles["shadow"] = shadows
    audited = {role: refs.audited(bank) for role, refs in roles.items()}
    members = {role: bank.member[refs.targets] for role, refs in roles.items()}
    drawn = {
        role: audited[role]
        for role, refs in roles.items()
        if refs.draw is not None or refs.judged is not None
    }
    return _Layout(
        bank_arrays(bank, attacks, tuple(roles.values())),
        {role: reference_arrays(refs) for role, refs in roles.items()},
        Truth(bank_metrics.lists(members, audited), drawn),
        _Programs(tuple(attacks), attackable, (options or Options()).validate(), bank.num_classes),
    )


@functools.cache
def _score_program(programs: _Programs) -> Any:
    def score(arrays: Arrays, roles: dict[str, dict[str, Array]], truth: Truth) -> list[Array]:
        found = _raw_of_roles(programs, arrays, roles)
        shared = shared_by_rows(arrays, truth, roles)
        rows_of = []
        for attack, raw in zip(programs.attacks, found, strict=True):
            rows = {**raw, "at": jnp.arange(len(roles["target"]["targets"]))}
            one = functools.partial(
                finish, attack.ending, programs.options, shared=shared, num_classes=programs.num_classes
            )  # fmt: skip
            rows_of.append(lax.map(lambda r, one=one: one(r)[0], rows))
        return rows_of

    return jax.jit(score)


def _raw_of_roles(
    programs: _Programs, arrays: Arrays, roles: dict[str, dict[str, Array]]
) -> list[dict[str, Array]]:
    """Returns each attack's raw scores by role; a shadow's only where it can be attacked."""
    found: list[dict[str, Array]] = [{} for _ in programs.attacks]
    for role, refs in roles.items():
        places = programs.of(role)
        mine = [programs.attacks[i] for i in places]
        raw, _ = raw_scores(arrays, refs, mine, programs.options, programs.num_classes)
        for i, rows in zip(places, raw, strict=True):
            found[i][role] = rows
    return found


@functools.cache
def _rows_program(programs: _Programs, mesh: Mesh) -> Any:
    """Returns the program that evaluates rows: one target's scores of all records each.

    Rows come by group (`_Programs.groups`), each with `at`, its target's place, and what
    `bank_metrics.in_turn` takes.  They are finished group by group and measured by one loop over all of
    them, as metrics take long to compile.  The program returns metrics, a device's rows in the groups'
    order, and every device's sums of influences, [devices, attacks, influences, N].
    """
    endings = [ending for ending, _ in programs.groups()]

    def measured(row: dict[str, Array], shared: Shared) -> tuple[BankMetrics, Array]:
        ranked = shared.rank("target", row["target"], row["at"])
        return bank_metrics.evaluate_row(ranked, shared.lists.near[row["at"]], row["level"])

    def device(groups: list[dict[str, Array]], shared: Shared) -> tuple[BankMetrics, Array]:
        together = rows_together(mesh)
        count = sum(len(rows["at"]) for rows in groups)
        scores, start, ends = jnp.zeros((count, shared.labels.shape[0]), jnp.float32), 0, []
        for ending, rows in zip(endings, groups, strict=True):
            one = functools.partial(
                finished, ending, programs.options, shared=shared, num_classes=programs.num_classes
            )
            scores, end = bank_metrics.filled(one, scores, start, rows, together)
            start += len(rows["at"])
            ends.append(end)
        found = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *ends)
        rows = {
            name: jnp.concatenate([rows[name] for rows in groups])
            for name in ("at", "attack", "weight")
        }
        rows |= {"target": scores, "level": found.level}
        metrics, sums = bank_metrics.in_turn(
            lambda row: measured(row, shared), len(programs.attacks), rows, together
        )
        return metrics._replace(
            variant=found.variant,
            non_finite=found.non_finite,
            first_non_finite=found.first_non_finite,
        ), sums[None]

    return fleet.spread("evaluate rows", device, mesh, ("models", "shared"))


@functools.cache
def _whole_program(programs: _Programs, mesh: Mesh) -> Any:
    def evaluate(arrays: Arrays, roles: dict[str, dict[str, Array]], truth: Truth) -> BankMetrics:
        fleet.TRACES["evaluate bank"] += 1
        found = _raw_of_roles(programs, arrays, roles)
        shared = shared_by_rows(arrays, truth, roles)
        targets = len(roles["target"]["targets"])
        groups, sizes = [], []
        for at in programs.groups().values():
            rows = {role: jnp.concatenate([found[i][role] for i in at]) for role in found[at[0]]}
            rows["at"] = jnp.tile(jnp.arange(targets), len(at))
            rows["attack"] = jnp.repeat(jnp.array(at), targets)
            groups.append(bank_metrics.pad(rows, mesh.size * rows_together(mesh)))
            sizes.append(len(groups[-1]["at"]) // mesh.size)
        metrics, sums = _rows_program(programs, mesh)(groups, shared)
        places = np.empty((len(programs.attacks), targets), np.int32)
        for g, at in enumerate(programs.groups().values()):
            row = np.arange(len(at) * targets)
            # A device's rows of all groups come before the next device's.
            place = row // sizes[g] * sum(sizes) + sum(sizes[:g]) + row % sizes[g]
            places[at] = place.reshape(len(at), targets)
        return jax.tree.map(lambda leaf: leaf[places], metrics)._replace(influence=sums.sum(0))

    return jax.jit(evaluate)


@functools.cache
def _block_program(attacks: tuple[Attack, ...], options: Options, num_classes: int) -> Any:
    def block(arrays: Arrays, refs: dict[str, Array], totals: dict[str, Array] | None) -> Any:
        fleet.TRACES["score block"] += 1
        return raw_scores(arrays, refs, attacks, options, num_classes, totals)

    def totals(arrays: Arrays, refs: dict[str, Array]) -> Any:
        return raw_scores(arrays, refs, attacks, options, num_classes)[1]

    return jax.jit(block), jax.jit(totals)


def _raw_in_blocks(layout: _Layout, role: str, mesh: Mesh, block: int) -> dict[int, np.ndarray]:
    """Returns raw scores on a role's models by the attack's place, on the host."""
    places, records = layout.programs.of(role), layout.arrays["labels"].shape[0]
    attacks = tuple(layout.programs.attacks[i] for i in places)
    score, total = _block_program(attacks, layout.programs.options, layout.programs.num_classes)
    refs = layout.roles[role]
    sums: dict[str, np.ndarray] = {}
    for _, part in blocks(layout.arrays, block):
        for name, value in total(put(part, mesh), refs).items():
            sums[name] = sums.get(name, 0) + np.asarray(value, np.float64)
    given = {name: np.asarray(value, np.float32) for name, value in sums.items()}
    found: dict[int, np.ndarray] = {}
    for span, part in blocks(layout.arrays, block):
        raw, _ = score(put(part, mesh), refs, given)
        for i, values in zip(places, raw, strict=True):
            if i not in found:
                found[i] = np.empty((*values.shape[:-1], records), np.float32)
            found[i][..., span] = np.asarray(values)[..., : span.stop - span.start]
    return found


def _streamed(layout: _Layout, truth: Truth, mesh: Mesh, block: int) -> BankMetrics:
    """The same in blocks of records; scores lie on the host between the two stages."""
    arrays, roles, _, programs = layout
    block = -(-block // mesh.size) * mesh.size
    records, targets = arrays["labels"].shape[0], len(roles["target"]["targets"])
    found = {role: _raw_in_blocks(layout, role, mesh, block) for role in roles}
    shared = placement.put_shared(shared_by_rows(arrays, truth, roles), mesh)
    multiple = mesh.size * rows_together(mesh)
    per_call = max(1, block * targets // records // multiple) * multiple
    parts = []
    for i, attack in enumerate(programs.attacks):
        # Of one ending, attacks share a program.
        alone = dataclasses.replace(
            programs,
            attacks=(next(a for a in programs.attacks if a.ending == attack.ending),),
            attackable=programs.attackable[i : i + 1],
        )
        evaluate_rows = _rows_program(alone, mesh)
        calls, influence = [], np.zeros((len(bank_metrics.INFLUENCES), records), np.float32)
        for start in range(0, targets, per_call):
            at = np.arange(start, start + per_call)
            weight, at = at < targets, np.minimum(at, targets - 1)
            rows = {role: raw[i][at] for role, raw in found.items() if i in raw}
            rows |= {"at": at, "attack": np.zeros(per_call, np.int32), "weight": weight}
            metrics, sums = evaluate_rows([rows], shared)
            calls.append(jax.tree.map(np.asarray, metrics))
            influence += np.asarray(sums).sum((0, 1))
        whole = jax.tree.map(lambda *leaves: np.concatenate(leaves)[:targets], *calls)
        parts.append(whole._replace(influence=influence))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *parts)
