"""Scores of every model under one attack, with references that all targets of its half share.

The risk of ONE record is read from many models' scores of it, which must be comparable.  Where every target
has all other models for references, they are not: a target that trained on the record is missing among the
IN references, one that did not among the OUT, and of a record that tells nothing the scores of members
come out lower (leave-one-out areas lie below 1/2; Airola et al. 2011).  So the models are dealt into two
halves, and the references of either half's targets are the other half, the same for all of them: a
target's score is then a fixed function of its own answer.

Records are gone through in blocks, so that memory does not grow with their number.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.csgraph
from jaxtyping import Array, Bool, Float, Int

from jleaks.attacks.attack import Attack, Records
from jleaks.attacks.bank import Bank
from jleaks.attacks.options import Options
from jleaks.attacks.per_record import PerRecord
from jleaks.attacks.reference_statistics import ReferenceStatistics
from jleaks.attacks.references import RELATED, relations
from jleaks.attacks.requirements import missing
from jleaks.errors import InputError

# Records that stand for the population where an attack compares a record with others (RMIA, Attack-P).
_MOST_OTHERS = 2_000
# Numbers of a block's largest array, and of the lists of references.
_BLOCK_VALUES, _LIST_VALUES = 1 << 22, 1 << 24
_MOST_RECORDS = 1_024


@dataclasses.dataclass(frozen=True, eq=False)
class ModelHalves:
    """Two halves of a bank's models, neither of which tells the other's membership.

    Attributes:
      order: [M] the models, twins beside each other where all are twins.
      first: [M] of `order`: which are in the first half.
      twins: Whether models 2i and 2i + 1 of `order` share each record between them.
    """

    order: Int[np.ndarray, "models"]
    first: Bool[np.ndarray, "models"]
    twins: bool


def model_halves(bank: Bank) -> ModelHalves:
    """Deals a bank's models into halves.

    Models that trained on (nearly) the same records, or on those that the other did not, stay together.

    Raises:
      InputError: there are too few models for two of either kind in each half.
    """
    m = bank.num_models
    if bank.target_part is not None:
        raise InputError(
            f"{bank.meta.get('task', 'bank')}: targets and references trained on different parts (protocol "
            "disjoint), but the risk of single records and shares of data sets are read from models that "
            "stand for each other; expected a bank without --num_targets"
        )
    order, groups = np.arange(m), np.arange(m) // 2
    twins = bank.twins
    if not twins:
        alike = np.abs(relations(bank)) > RELATED
        _, found = scipy.sparse.csgraph.connected_components(alike)
        order = np.argsort(found, kind="stable")
        groups = found[order]
        audited = bank.member[order][:, ~bank.population]
        pairs = m % 2 == 0 and (np.bincount(groups) == 2).all()
        twins = bool(pairs and (audited[0::2] != audited[1::2]).all())
    _, sizes = np.unique(groups, return_counts=True)
    # Whole groups up to half of the models.
    behind = np.cumsum(sizes)
    first = behind[np.argmin(abs(behind - m / 2))]
    if min(first, m - first) < 4:
        raise InputError(
            f"{bank.meta.get('task', 'bank')}: {m} models in halves of {first} and {m - first}, of which "
            "neither may tell the other's membership; expected at least 4 in each: train more models"
        )
    return ModelHalves(order, np.arange(m) < first, twins)


def refusal(attack: Attack, bank: Bank) -> str | None:
    """Returns why an attack's scores cannot be made without a shadow, or None if they can."""
    if attack.needs_shadow:
        return "it sets a target beside its shadow, which differs from target to target"
    return missing(attack, bank)


@dataclasses.dataclass(frozen=True)
class ScoreBlock:
    """Scores of some records.

    Attributes:
      records: [n] their positions in the bank.
      member: [M, n] which models trained on them, in the order of `ModelHalves`.
      scores: By attack, [2, M, n]: with the first half of the models as references, and with the second.
        Models of the other half are targets; those of the same half are references, each scored
        without itself.
    """

    records: Int[np.ndarray, "records"]
    member: Bool[np.ndarray, "models records"]
    scores: dict[str, Float[np.ndarray, "2 models records"]]


class AcrossHalves:
    """Attacks on a bank across the halves of its models."""

    def __init__(
        self,
        bank: Bank,
        attacks: Sequence[Attack],
        options: Options | None = None,
        records_per_block: int | None = None,
    ):
        """Sums over all records what attacks need of all, and scores what others are compared with.

        Args:
          bank: Its arrays may lie on the disk.
          attacks: `refusal` must be None for each.
          options: Their parameters; of an attack of several forms the default is taken.
          records_per_block: Records scored at a time; None for as many as make a few million numbers.

        Raises:
          InputError: an attack cannot be run, or there are too few models.
        """
        for attack in attacks:
            if (why := refusal(attack, bank)) is not None:
                raise InputError(f"{attack.name} cannot be run: {why}")
        self.bank, self.attacks = bank, tuple(attacks)
        self.halves = model_halves(bank)
        self._options = (options or Options()).validate()
        m = bank.num_models
        self.records_per_block = records_per_block or max(8, min(_MOST_RECORDS, _BLOCK_VALUES // m))
        several = any(attack.queries == "all" for attack in attacks)
        self._queries = slice(None) if several else slice(1)
        self._names = sorted({name for attack in attacks for name in attack.signals})
        # Lists of references are as long as there are models, for each target.
        lists = any(isinstance(a.score, PerRecord) and a.score.lists for a in attacks)
        size = max(1, min(m, _LIST_VALUES // m)) if lists else m
        starts = range(0, m, size)
        # Of one shape: the last chunk repeats its last model.
        self._chunks = [np.minimum(np.arange(s, s + size), m - 1).astype(np.int32) for s in starts]
        self.candidates = np.flatnonzero(~bank.population)
        self._totals = self._all_totals()
        self._others = self._score_others()

    def _parts(self) -> Iterator[Int[np.ndarray, "records"]]:
        everybody = np.arange(len(self.bank.labels))
        for start in range(0, len(everybody), self.records_per_block):
            yield everybody[start : start + self.records_per_block]

    def _arrays(self, records: np.ndarray) -> dict[str, Any]:
        """The bank's arrays at some records, padded to whole blocks; models in the order of the halves."""
        surplus = -len(records) % self.records_per_block
        # Neighbours are read as one piece, which a file on the disk gives faster.
        first, last = int(records[0]), int(records[-1]) + 1
        whole = last - first == len(records)
        columns: Any = slice(first, last) if whole else records
        order: Any = slice(None) if (np.diff(self.halves.order) == 1).all() else self.halves.order

        def taken(array: np.ndarray) -> np.ndarray:
            cut = np.asarray(array[..., columns])
            if cut.ndim > 1:
                cut = cut[..., order, :]
            if cut.dtype.kind == "f":
                cut = cut.astype(np.float32)
            return np.pad(cut, [(0, 0)] * (cut.ndim - 1) + [(0, surplus)])

        bank = self.bank
        arrays = {name: taken(getattr(bank, name)) for name in self._names if name != "correct"}
        if "correct" in self._names and bank.correct is not None:
            arrays["correct"] = taken(bank.correct[self._queries])
        return arrays | {
            "phi": taken(bank.phi[self._queries]),
            "member": taken(bank.member),
            "labels": taken(bank.labels).astype(np.int32),
            "valid": np.arange(len(records) + surplus) < len(records),
            "candidate": taken(~bank.population),
        }

    def _pools(self) -> list[np.ndarray]:
        return [self.halves.first, ~self.halves.first]

    def _all_totals(self) -> list[list[dict[str, np.ndarray]]]:
        """Sums over all records, by half and chunk of targets."""
        score, totals = _programs(self.attacks, self._options, self.bank.num_classes)
        del score
        found: list[list[dict[str, np.ndarray]]] = [[{} for _ in self._chunks] for _ in range(2)]
        for records in self._parts():
            arrays = self._arrays(records)
            for half, pool in enumerate(self._pools()):
                for sums, targets in zip(found[half], self._chunks, strict=True):
                    for name, value in totals(arrays, targets, pool, np.flatnonzero(pool)).items():
                        sums[name] = sums.get(name, 0) + np.asarray(value, np.float64)
        return [
            [{name: value.astype(np.float32) for name, value in sums.items()} for sums in chunks]
            for chunks in found
        ]

    def _raw(self, arrays: dict[str, Any], half: int, chunk: int) -> list[Array]:
        pool = self._pools()[half]
        score, _ = _programs(self.attacks, self._options, self.bank.num_classes)
        found: list[Array] = score(
            arrays, self._chunks[chunk], pool, np.flatnonzero(pool), self._totals[half][chunk]
        )
        return found

    def _score_others(self) -> list[list[list[np.ndarray]]]:
        """Raw scores [T, Z] of the records that others are compared with, by half, chunk and attack."""
        self._other_records = np.empty(0, int)
        if all(attack.finish is None for attack in self.attacks):
            return []
        population = np.flatnonzero(self.bank.population)
        pool = population if population.size else self.candidates
        step = -(-len(pool) // _MOST_OTHERS)
        self._other_records = pool[::step]
        pieces: list[list[list[list[np.ndarray]]]] = [
            [[[] for _ in self.attacks] for _ in self._chunks] for _ in range(2)
        ]
        for start in range(0, len(self._other_records), self.records_per_block):
            records = self._other_records[start : start + self.records_per_block]
            arrays = self._arrays(records)
            for half in range(2):
                for chunk in range(len(self._chunks)):
                    for i, raw in enumerate(self._raw(arrays, half, chunk)):
                        if self.attacks[i].finish is not None:
                            pieces[half][chunk][i].append(np.asarray(raw)[:, : len(records)])
        return [
            [[np.concatenate(p, axis=1) if p else np.empty(0) for p in mine] for mine in chunks]
            for chunks in pieces
        ]

    def blocks(self) -> Iterator[ScoreBlock]:
        """Scores all audited records, block by block."""
        for start in range(0, len(self.candidates), self.records_per_block):
            yield self.score(self.candidates[start : start + self.records_per_block])

    def score(self, records: Int[np.ndarray, "records"]) -> ScoreBlock:
        """Scores some records, at most a block of them, in ascending order.

        Raises:
          InputError: scores are not finite.
        """
        arrays, m = self._arrays(records), self.bank.num_models
        found = {attack.name: np.empty((2, m, len(records)), np.float32) for attack in self.attacks}
        for half in range(2):
            for chunk, targets in enumerate(self._chunks):
                for i, raw in enumerate(self._raw(arrays, half, chunk)):
                    attack, values = self.attacks[i], np.asarray(raw)
                    if attack.finish is not None:
                        values = self._finished(i, half, chunk, values, arrays)
                    found[attack.name][half, targets] = values[:, : len(records)]
        for name, values in found.items():
            if not np.isfinite(values).all():
                at = np.argwhere(~np.isfinite(values))[0]
                raise InputError(
                    f"{name} has scores that are not finite (first: model "
                    f"{self.halves.order[at[1]]}, record {records[at[2]]}); leave it out of --attacks"
                )
        return ScoreBlock(np.asarray(records), arrays["member"][:, : len(records)], found)

    def _finished(
        self, i: int, half: int, chunk: int, raw: np.ndarray, arrays: dict[str, Any]
    ) -> np.ndarray:
        """Finishes raw scores [T, n] beside those of the records that others are compared with."""
        others = self._other_records
        bank = self.bank
        labels = np.concatenate([bank.labels[others], arrays["labels"]]).astype(np.int32)
        valid = np.arange(len(labels)) < len(others)
        candidate = np.concatenate([~bank.population[others], arrays["candidate"]])
        rows = np.concatenate([self._others[half][chunk][i], raw], axis=1)
        finish = _finish_program(self.attacks[i], self._options, bank.num_classes)
        return np.asarray(finish(rows, labels, valid, candidate))[:, len(others) :]


@functools.cache
def _programs(attacks: tuple[Attack, ...], options: Options, num_classes: int) -> Any:
    """Returns the programs that score targets with one pool of references, and that sum over records."""

    def statistics(
        arrays: dict[str, Array],
        targets: Array,
        pool: Array,
        models: Array,
        totals: dict[str, Array] | None = None,
    ) -> ReferenceStatistics:
        # Of the pool, too, nobody is compared with itself: a model on neither side stands for it.
        own = models[None] == targets[:, None]
        references = {
            "targets": targets,
            "models": jnp.where(own, jnp.argmin(pool), models[None]),
            "left_out": targets[:, None],
            "pool": pool,
        }
        return ReferenceStatistics(arrays, references, totals, num_classes)

    def score(
        arrays: dict[str, Array],
        targets: Array,
        pool: Array,
        models: Array,
        totals: dict[str, Array],
    ) -> list[Array]:
        found = []
        known = statistics(arrays, targets, pool, models, totals)
        for attack in attacks:
            raw = attack.score(known, options)
            if (variants := attack.variants) is not None:
                value = jnp.float32(variants.default(options))
                raw = jax.vmap(variants.form, in_axes=(1, None))(raw, value)
            found.append(raw)
        return found

    def totals(
        arrays: dict[str, Array], targets: Array, pool: Array, models: Array
    ) -> dict[str, Array]:
        known = statistics(arrays, targets, pool, models)
        for attack in attacks:
            attack.score(known, options)
        return known.totals

    return jax.jit(score), jax.jit(totals)


@functools.cache
def _finish_program(attack: Attack, options: Options, num_classes: int) -> Any:
    assert attack.finish is not None
    finish = attack.finish

    def run(rows: Array, labels: Array, valid: Array, candidate: Array) -> Array:
        records = Records(labels, valid, candidate, num_classes)
        return jax.lax.map(lambda row: finish(row, records, options), rows)

    return jax.jit(run)
