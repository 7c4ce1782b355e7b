"""The bank's evaluator: every attack on every model of a bank, in one compiled call.

Two stages.  *Scores* need one record's answers from all models: records are spread over the devices.
*Metrics* need one target's scores of all records: (attack, target) rows are spread over the devices.  A
bank that does not fit goes through the first stage in blocks of records, its scores waiting on the host.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from jleaks.attacks import baseline, calibration, rmia
from jleaks.attacks.bank import Bank
from jleaks.attacks.options import Options
from jleaks.attacks.reference_statistics import ReferenceStatistics
from jleaks.attacks.references import References
from jleaks.attacks.registry import Attack, Variants
from jleaks.errors import InputError
from jleaks.metrics import bank_metrics, roc
from jleaks.metrics.bank_metrics import BankMetrics
from jleaks.training import fleet
from jleaks.training.packing import device_memory

_MEMORY_SHARE = 0.4

Arrays = dict[str, Any]


def missing(attack: Attack, bank: Bank) -> str | None:
    """Returns what a bank lacks for an attack, or None if it can be run."""
    absent = [name for name in attack.signals if getattr(bank, name) is None]
    if absent:
        return f"the bank has no {' and no '.join(absent)}"
    if attack.queries == "all" and bank.phi.shape[0] == 1:
        return "the bank has only one query per record"
    return None


def lacking(attack: Attack, bank: Bank, references: References) -> str | None:
    """Returns what the references lack for an attack, or None if it can be run."""
    inside, outside = references.sides(bank)
    for needed, found, what in (
        (attack.references != "none", outside, "that did not train on a record"),
        (attack.references == "in and out", inside, "that trained on a record"),
    ):
        if needed and not found:
            return f"no reference {what} is left but those whose membership tells the target's"
    return None


def without_shadows(bank: Bank, attacks: list[Attack], shadows: References | None) -> str | None:
    """Says what is missing because shadows cannot be attacked; None where they can."""
    if shadows is None:
        reason = "too few models are left to be their references"
    else:
        reasons = {a.name: lacking(a, bank, shadows) for a in attacks}
        found = [f"{name}: {why}" for name, why in reasons.items() if why]
        if not found:
            return None
        reason = found[0]
    return (
        f"shadows cannot be attacked ({reason}): no attack has a threshold, and forms of an attack that "
        "are chosen on a shadow stay at their default"
    )


class NonFiniteScoresError(InputError):
    """Scores that cannot be ranked; `attacks` names theirs."""

    def __init__(self, message: str, attacks: list[str]):
        super().__init__(message)
        self.attacks = attacks


def evaluate(
    bank: Bank,
    attacks: list[Attack],
    references: References,
    shadows: References | None,
    mesh: Mesh,
    options: Options | None = None,
    records_per_block: int | None = None,
) -> BankMetrics:
    """Runs attacks on targets.

    Args:
      bank: Answers and membership.
      attacks: Which to run; `missing` must be None for each.
      references: The targets and what each is compared with.
      shadows: For each target a shadow and what that is compared with; None leaves thresholds NaN.
      mesh: Devices to spread the work over.
      options: Parameters of attacks.
      records_per_block: Records scored at a time; None for all if they fit.

    Raises:
      InputError: an attack cannot be run on this bank.
      NonFiniteScoresError: an attack has scores that cannot be ranked.
    """
    kinds, roles, arrays, options = _checked(bank, attacks, references, shadows, options)
    block = records_per_block or _fitting(arrays, kinds, len(references.targets), mesh)
    if block >= arrays["labels"].shape[0]:
        program = _whole_program(kinds, options, bank.num_classes, mesh)
        indices = fleet.put_shared(_membership_indices(bank, references, shadows), mesh)
        found = program(_put(arrays, mesh), fleet.put_shared(roles, mesh), indices)
        metrics = BankMetrics(*(np.asarray(leaf) for leaf in found))
        # What was padded for the devices is nobody's.
        records = arrays["labels"].shape[0]
        metrics = metrics._replace(influence=metrics.influence[..., :records])
    else:
        indices = fleet.put_shared(_membership_indices(bank, references, shadows), mesh)
        metrics = _streamed(arrays, kinds, options, bank.num_classes, roles, indices, mesh, block)
    _refuse_non_finite(kinds, references, metrics)
    return metrics


def _refuse_non_finite(
    attacks: tuple[Attack, ...], references: References, metrics: BankMetrics
) -> None:
    """Raises where scores cannot be ranked, naming attack, target and record."""
    found = []
    for attack, counts, records in zip(
        attacks, metrics.non_finite, metrics.first_non_finite, strict=True
    ):
        bad = np.flatnonzero(counts)
        if bad.size:
            found.append(
                f"{attack.name} has {int(counts.sum())} scores that are not finite on {bad.size} "
                f"targets (first: target {references.targets[bad[0]]}, record {records[bad[0]]})"
            )
    if found:
        names = [a.name for a, c in zip(attacks, metrics.non_finite, strict=True) if c.any()]
        raise NonFiniteScoresError("; ".join(found), names)


def _checked(
    bank: Bank,
    attacks: list[Attack],
    references: References,
    shadows: References | None,
    options: Options | None,
) -> tuple[tuple[Attack, ...], dict[str, dict[str, np.ndarray]], Arrays, Options]:
    """Refuses what cannot be run, and lays out the rest for the device."""
    for attack in attacks:
        if (reason := missing(attack, bank) or lacking(attack, bank, references)) is not None:
            raise InputError(f"{attack.name} cannot be run: {reason}")
    kinds = tuple(attacks)
    roles = {"target": _on_device(references)}
    if shadows is not None and without_shadows(bank, attacks, shadows) is None:
        roles["shadow"] = _on_device(shadows)
    arrays = _arrays(bank, kinds)
    for refs in (references, shadows):
        if refs is not None and refs.draw is not None:
            arrays["rank"] = refs.draw.rank
    return kinds, roles, arrays, (options or Options()).validate()


def scores(
    bank: Bank,
    attacks: list[Attack],
    references: References,
    shadows: References | None = None,
    options: Options | None = None,
) -> dict[str, np.ndarray]:
    """Returns every attack's scores by name, [T, N] each, population records included.

    Raises:
      InputError: an attack cannot be run on this bank, or needs shadows.
    """
    kinds, roles, arrays, options = _checked(bank, attacks, references, shadows, options)
    for attack in attacks:
        if attack.finish == "class thresholds" and "shadow" not in roles:
            raise InputError(f"{attack.name} needs shadows: too few references are left for them")
    program = _score_program(kinds, options, bank.num_classes)
    found = program(arrays, roles, _membership_indices(bank, references, shadows))
    return {a.name: np.asarray(row) for a, row in zip(attacks, found, strict=True)}


def _on_device(references: References) -> dict[str, np.ndarray]:
    draw = references.draw
    drawn = {} if draw is None else {"drawn": np.array([draw.inside, draw.outside], np.int32)}
    return drawn | {
        "targets": references.targets,
        "models": references.models,
        "left_out": references.left_out,
        "use": references.use,
    }


def _arrays(bank: Bank, attacks: tuple[Attack, ...]) -> Arrays:
    """What the attacks look at, on the host."""
    several = any(attack.queries == "all" for attack in attacks)
    queries = slice(None) if several else slice(1)
    names = sorted({name for attack in attacks for name in attack.signals})
    arrays = {name: getattr(bank, name) for name in names}
    if "correct" in arrays:
        arrays["correct"] = arrays["correct"][queries]
    return {
        **arrays,
        "phi": bank.phi[queries],
        "member": bank.member,
        "labels": np.asarray(bank.labels, np.int32),
        "valid": np.ones(len(bank.labels), bool),
        "candidate": ~bank.population,
    }


def _put(arrays: Arrays, mesh: Mesh) -> Arrays:
    """Pads the records to a multiple of the devices and spreads them."""

    def put(array: np.ndarray) -> Array:
        surplus = -array.shape[-1] % mesh.size
        padded = np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, surplus)])
        spec = PartitionSpec(*[None] * (array.ndim - 1), "model")
        return jax.device_put(padded, NamedSharding(mesh, spec))

    return {name: put(array) for name, array in arrays.items()}


def bytes_per_record(arrays: Arrays, attacks: tuple[Attack, ...], targets: int, mesh: Mesh) -> int:
    """Returns what evaluating takes for each record at most, on all devices together."""
    models, queries = arrays["member"].shape[0], arrays["phi"].shape[0]
    given = sum(array[..., :1].nbytes for array in arrays.values())
    # For targets and shadows, 4 bytes each: scores of all attacks, summaries of both sides for every query,
    # thirty more, and the membership indices, which every device has whole.
    rows = len(attacks) + sum(attack.variants is not None for attack in attacks)
    kept = 4 * 2 * targets * (rows + 8 * queries + 30 + mesh.size)
    # Every device's sums of influences.
    kept += 4 * len(attacks) * len(bank_metrics.INFLUENCES) * (mesh.size + 1)
    # Sorts over all models.
    return given + kept + 4 * models * 8


def _fitting(arrays: Arrays, attacks: tuple[Attack, ...], targets: int, mesh: Mesh) -> int:
    """Returns how many records can be scored and evaluated at a time."""
    records = arrays["member"].shape[1]
    memory = device_memory(mesh.devices.flat[0]) * mesh.size
    per_record = bytes_per_record(arrays, attacks, targets, mesh)
    return max(1, min(records, int(_MEMORY_SHARE * memory / per_record)))


def _raw(
    arrays: Arrays,
    references: dict[str, Array],
    attacks: tuple[Attack, ...],
    options: Options,
    totals: dict[str, Array] | None = None,
) -> tuple[list[Array], dict[str, Array]]:
    """Raw scores of every attack, [T, N]; of one with variants what they share, [T, C, N]."""
    statistics = ReferenceStatistics(arrays, references, totals)
    found = [attack.score(statistics, options) for attack in attacks]
    return [jnp.moveaxis(a, 0, 1) if a.ndim == 3 else a for a in found], statistics.totals


@functools.cache
def _score_program(attacks: tuple[Attack, ...], options: Options, num_classes: int) -> Any:
    def score(
        arrays: Arrays,
        roles: dict[str, dict[str, Array]],
        indices: dict[str, bank_metrics.MembershipIndex],
    ) -> list[Array]:
        found = {role: _raw(arrays, refs, attacks, options)[0] for role, refs in roles.items()}
        shared = _shared(arrays, indices, roles)
        finished = []
        for i, attack in enumerate(attacks):
            rows = {role: raw[i] for role, raw in found.items()}
            rows["at"] = jnp.arange(len(roles["target"]["targets"]))
            kind = _kind(attack)
            finish = functools.partial(
                _finish, kind, options, num_classes=num_classes, shared=shared
            )
            finished.append(lax.map(lambda r, finish=finish: finish(r)[0], rows))
        return finished

    return jax.jit(score)


# Attacks evaluated by one program: equal finish, threshold and variants.
_Kind = tuple[str, str, Variants | None]


def _kind(attack: Attack) -> _Kind:
    return attack.finish, attack.threshold, attack.variants


def _groups(attacks: tuple[Attack, ...]) -> dict[_Kind, list[int]]:
    found: dict[_Kind, list[int]] = {}
    for i, attack in enumerate(attacks):
        found.setdefault(_kind(attack), []).append(i)
    return found


def _rank(role: str, row: Array, at: Array, shared: Arrays) -> roc.Ranked:
    """Ranks the scores of a role's model for target number `at`, on the records it is audited on."""
    audited = shared.get(f"{role} audited")
    candidate = shared["candidate"] if audited is None else audited[at]
    listed = (side[at] for side in shared[role])
    return roc.rank(row, shared[f"{role} member"][at], candidate, *listed)


def _finish(
    kind: _Kind, options: Options, rows: dict[str, Array], shared: Arrays, num_classes: int
) -> tuple[Array, Array | None, Array]:
    """One target's scores and its shadow's, and the variant that the shadow chose (NaN without)."""
    finish, _, variants = kind
    target: Array = rows["target"]
    shadow: Array | None = rows.get("shadow")
    chosen = jnp.float32(jnp.nan)
    if variants is not None:
        chosen = jnp.float32(variants.default(options))
        if shadow is not None:
            values = jnp.array(variants.values(options), jnp.float32)

            def quality(value: Array, parts: Array = shadow) -> Array:
                row = variants.form(parts, value)
                return roc.auc(_rank("shadow", row, rows["at"], shared))

            chosen = values[jnp.argmax(lax.map(quality, values))]
            shadow = variants.form(shadow, chosen)
        target = variants.form(target, chosen)
    target = _finished(finish, options, target, shared)
    if shadow is not None:
        shadow = _finished(finish, options, shadow, shared)
        if finish == "class thresholds":
            member = shared["shadow member"][rows["at"]]
            target = _above_class(target, shadow, member, shared, num_classes)
    return target, shadow, chosen


def _finished(finish: str, options: Options, row: Array, shared: Arrays) -> Array:
    """One target's scores from the raw scores of all its records."""
    if finish == "share of all":
        return rmia.dominated_share(row, shared["valid"], np.log(options.gamma))
    if finish == "share of population":
        population = shared["valid"] & ~shared["candidate"]
        population = jnp.where(population.any(), population, shared["valid"])
        return calibration.population_share(row, population)
    return row


def _above_class(
    row: Array, shadow: Array, shadow_member: Array, shared: Arrays, num_classes: int
) -> Array:
    """How far a target's scores are above the threshold of each record's class."""
    labels = shared["labels"]
    found = baseline.class_thresholds(
        shadow, labels, shadow_member, shared["candidate"], num_classes
    )
    return row - found[labels]


@functools.cache
def _rows_program(
    kind: _Kind, num_attacks: int, options: Options, num_classes: int, mesh: Mesh
) -> Any:
    """Returns the program that evaluates rows: one target's scores of all records each.

    A row comes with `at`, its target's place, and what `row_metrics.in_turn` takes.  The program also
    returns every device's sums of influences, [devices, attacks, influences, N].
    """
    threshold_from = kind[1]

    def threshold(row: Array, ranked: roc.Ranked, member: Array, candidate: Array) -> Array:
        if threshold_from == "one half":
            return jnp.float32(0.5)
        if threshold_from == "zero":
            return jnp.float32(0)
        if threshold_from == "mean member loss":
            mine = member & candidate
            return jnp.where(mine, row, 0).sum() / mine.sum()
        return roc.best_threshold(ranked)

    def one(rows: dict[str, Array], shared: Arrays) -> tuple[BankMetrics, Array]:
        row, shadow, variant = _finish(kind, options, rows, shared, num_classes)
        level = jnp.float32(jnp.nan)
        if shadow is not None:
            member = shared["shadow member"][rows["at"]]
            ranked = _rank("shadow", shadow, rows["at"], shared)
            level = threshold(shadow, ranked, member, shared["candidate"])
        # What a share or a rank would hide is looked for in the raw scores, too.
        bad = ~jnp.isfinite(row)
        for role in ("target", "shadow"):
            if role in rows:
                raw = ~jnp.isfinite(rows[role])
                bad = bad | (raw.any(0) if raw.ndim == 2 else raw)
        bad = bad & shared["candidate"]
        ranked = _rank("target", row, rows["at"], shared)
        metrics, influence = bank_metrics.evaluate_row(ranked, shared["near"][rows["at"]], level)
        return metrics._replace(
            variant=variant, non_finite=bad.sum(), first_non_finite=jnp.argmax(bad)
        ), influence

    def device(rows: dict[str, Array], shared: Arrays) -> tuple[BankMetrics, Array]:
        metrics, sums = bank_metrics.in_turn(lambda r: one(r, shared), num_attacks, rows)
        return metrics, sums[None]

    return fleet.spread("evaluate rows", device, mesh, ("models", "shared"))


def _membership_indices(bank: Bank, references: References, shadows: References | None) -> Arrays:
    """Lists who is a member of each role's models, and the targets' thresholds, on the host."""
    roles = {"target": references} if shadows is None else {"target": references, "shadow": shadows}
    members = {role: bank.member[refs.targets] for role, refs in roles.items()}
    audited = {role: refs.audited(bank) for role, refs in roles.items()}
    drawn = {
        f"{role} audited": audited[role] for role, refs in roles.items() if refs.draw is not None
    }
    return bank_metrics.lists(members, audited) | drawn


def _shared(arrays: Arrays, indices: Arrays, roles: dict[str, Any]) -> Arrays:
    """What every row is evaluated with."""
    shared = {name: arrays[name] for name in ("labels", "valid", "candidate")} | indices
    for role, refs in roles.items():
        shared[f"{role} member"] = arrays["member"][refs["targets"]]
        if (name := f"{role} audited") in shared:
            # Records that were padded for the devices are not audited.
            surplus = shared["labels"].shape[0] - shared[name].shape[1]
            shared[name] = jnp.pad(shared[name], ((0, 0), (0, surplus)))
    return shared


@functools.cache
def _whole_program(
    attacks: tuple[Attack, ...], options: Options, num_classes: int, mesh: Mesh
) -> Any:
    def evaluate(
        arrays: Arrays, roles: dict[str, dict[str, Array]], indices: Arrays
    ) -> BankMetrics:
        fleet.TRACES["evaluate bank"] += 1
        found = {role: _raw(arrays, refs, attacks, options)[0] for role, refs in roles.items()}
        shared = _shared(arrays, indices, roles)
        targets = len(roles["target"]["targets"])
        parts: dict[int, BankMetrics] = {}
        for kind, at in _groups(attacks).items():
            rows = {role: jnp.concatenate([raw[i] for i in at]) for role, raw in found.items()}
            rows["at"] = jnp.tile(jnp.arange(targets), len(at))
            rows["attack"] = jnp.repeat(jnp.arange(len(at)), targets)
            evaluate_rows = _rows_program(kind, len(at), options, num_classes, mesh)
            metrics, sums = evaluate_rows(bank_metrics.pad(rows, mesh.size), shared)
            influence = sums.sum(0)
            for i, attack in enumerate(at):
                span = slice(i * targets, (i + 1) * targets)
                mine = jax.tree.map(lambda leaf, span=span: leaf[span], metrics)
                parts[attack] = mine._replace(influence=influence[i])
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(parts[i] for i in sorted(parts)))

    return jax.jit(evaluate)


@functools.cache
def _block_program(attacks: tuple[Attack, ...], options: Options) -> Any:
    def block(arrays: Arrays, refs: dict[str, Array], totals: dict[str, Array] | None) -> Any:
        fleet.TRACES["score block"] += 1
        return _raw(arrays, refs, attacks, options, totals)

    def totals(arrays: Arrays, refs: dict[str, Array]) -> Any:
        return _raw(arrays, refs, attacks, options)[1]

    return jax.jit(block), jax.jit(totals)


def _blocks(arrays: Arrays, size: int) -> Iterator[tuple[slice, Arrays]]:
    """Cuts records into blocks of one shape; what the last one lacks is padding."""
    records = arrays["labels"].shape[0]
    for start in range(0, records, size):
        span = slice(start, min(start + size, records))
        lacking = size - (span.stop - span.start)
        yield (
            span,
            {
                name: np.pad(a[..., span], [(0, 0)] * (a.ndim - 1) + [(0, lacking)])
                for name, a in arrays.items()
            },
        )


def _streamed(
    arrays: Arrays,
    attacks: tuple[Attack, ...],
    options: Options,
    num_classes: int,
    roles: dict[str, dict[str, np.ndarray]],
    indices: Arrays,
    mesh: Mesh,
    block: int,
) -> BankMetrics:
    """The same in blocks of records; scores lie on the host between the two stages."""
    block = -(-block // mesh.size) * mesh.size
    score, total = _block_program(attacks, options)
    records, targets = arrays["labels"].shape[0], len(roles["target"]["targets"])
    found: dict[str, list[np.ndarray]] = {}
    for role, refs in roles.items():
        sums: dict[str, np.ndarray] = {}
        for _, part in _blocks(arrays, block):
            for name, value in total(_put(part, mesh), refs).items():
                sums[name] = sums.get(name, 0) + np.asarray(value, np.float64)
        given = {name: np.asarray(value, np.float32) for name, value in sums.items()}
        found[role] = []
        for span, part in _blocks(arrays, block):
            raw, _ = score(_put(part, mesh), refs, given)
            if not found[role]:
                found[role] = [np.empty((*a.shape[:-1], records), np.float32) for a in raw]
            for whole, values in zip(found[role], raw, strict=True):
                whole[..., span] = np.asarray(values)[..., : span.stop - span.start]
    shared = fleet.put_shared(_shared(arrays, indices, roles), mesh)
    per_call = max(1, block * targets // records // mesh.size) * mesh.size
    parts = []
    for attack in range(len(attacks)):
        evaluate_rows = _rows_program(_kind(attacks[attack]), 1, options, num_classes, mesh)
        calls, influence = [], np.zeros((len(bank_metrics.INFLUENCES), records), np.float32)
        for start in range(0, targets, per_call):
            at = np.arange(start, start + per_call)
            weight, at = at < targets, np.minimum(at, targets - 1)
            rows = {role: raw[attack][at] for role, raw in found.items()}
            rows |= {"at": at, "attack": np.zeros(per_call, np.int32), "weight": weight}
            metrics, sums = evaluate_rows(rows, shared)
            calls.append(jax.tree.map(np.asarray, metrics))
            influence += np.asarray(sums).sum((0, 1))
        whole = jax.tree.map(lambda *leaves: np.concatenate(leaves)[:targets], *calls)
        parts.append(whole._replace(influence=influence))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *parts)
