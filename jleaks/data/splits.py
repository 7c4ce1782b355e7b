"""Who is a member: the only place that decides it.

Protocol `quarters` (Salem et al. 2019, section IV-A): a dataset is halved at random into a shadow and
a target part, and each half again into *train* (members) and *out* (non-members).

Protocol `bank` (Carlini et al. 2022, section V): every model of a bank trains on a random half of a pool.
Models come in pairs of *twins*: the second trains on the records that the first does not.  Every record is
then in exactly half of the models; and if a target's references are all models but itself and its twin,
exactly half of them hold any record, whether or not the target does: the count says nothing.

Protocol `disjoint`: the pool itself is halved.  Targets train on halves of the one part, their references
on halves of the other: for attackers who cannot train on a target's records.
"""

import dataclasses

import jax
import numpy as np

from jleaks.errors import InputError
from jleaks.keys import Role, identity_generator, identity_key


@dataclasses.dataclass(frozen=True, eq=False)
class Quarters:
    """One draw of the paper's split: four disjoint index sets of equal size q, each [q] int32."""

    target_train: np.ndarray
    target_out: np.ndarray
    shadow_train: np.ndarray
    shadow_out: np.ndarray


def quarters(task: str, seed: int, num_records: int, quarter: int) -> Quarters:
    """Draws the paper's split of `num_records` records into four parts of `quarter` each.

    Args:
      task: Name of the task; with `seed` it identifies the draw.
      seed: Every seed has an independent draw.
      num_records: N, the size of the pooled dataset.
      quarter: q, the size of each part; records beyond 4q are left out of this draw.

    Returns:
      Four disjoint sets of indices into 0..N-1.

    Raises:
      InputError: the data has fewer than 4q records.
    """
    if quarter < 1 or 4 * quarter > num_records:
        raise InputError(
            f"{task}: four parts of {quarter} records were asked for, the data has {num_records}"
        )
    key = identity_key(seed, task, Role.SPLIT)
    order = np.asarray(jax.random.permutation(key, num_records), np.int32)
    return Quarters(*(order[i * quarter : (i + 1) * quarter] for i in range(4)))


def shadow_part(split: Quarters, task: str, seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns what shadow model `index` of a draw trains on, and what it does not, each [q] int32.

    Shadow 0 has the paper's own parts.  Every further one cuts the shadow half of the data anew (Shokri
    et al. 2017, section V-B: the shadows' parts overlap), so that its parts do not depend on how many
    shadows there are.
    """
    if index == 0:
        return split.shadow_train, split.shadow_out
    both = np.concatenate([split.shadow_train, split.shadow_out])
    key = identity_key(seed, task, Role.SHADOW_SPLIT, index)
    order = np.asarray(jax.random.permutation(key, len(both)))
    return both[order[: len(both) // 2]], both[order[len(both) // 2 :]]


def null_orders(task: str, seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws the null check's membership: a coin tells members and others of target and shadow apart.

    Args:
      task: Name of the task; with `seed` it identifies the draw.
      seed: Every seed has an independent draw.
      count: Members and others of one model together.

    Returns:
      For the target and for the shadow an order [count] of their members and others: who stands in the
      first half is called a member.
    """
    generator = identity_generator(seed, task, Role.SPLIT, 1)
    return generator.permutation(count), generator.permutation(count)


@dataclasses.dataclass(frozen=True, eq=False)
class Halves:
    """One draw of a bank's membership.

    Attributes:
      candidates: [N] int32 records that are audited, and of protocol `disjoint` the references' own.
      population: [P] int32 records held out from all models, disjoint from the candidates.
      member: [M, N] bool: model m trains on candidate n; models 2i and 2i + 1 are twins.
      target_part: Of protocol `disjoint`, [N] bool: the candidates of which targets train on halves, and on
        which they are audited; None where every model trains on a half of all.
    """

    candidates: np.ndarray
    population: np.ndarray
    member: np.ndarray
    target_part: np.ndarray | None = None


def halves(
    task: str,
    seed: int,
    num_records: int,
    num_models: int,
    num_candidates: int,
    num_population: int,
    role: Role = Role.BANK_SPLIT,
    num_targets: int = 0,
) -> Halves:
    """Draws a bank's membership; pair i of twins depends on task, seed, sizes of the parts and i alone.

    Args:
      task: Name of the task; with `seed` it identifies the draw.
      seed: Every seed has an independent draw.
      num_records: Records of the whole dataset.
      num_models: M, even.
      num_candidates: N, even.
      num_population: P.
      role: What the draw is for: `BANK_SPLIT`, or `NULL` for the null check's membership.
      num_targets: Of protocol `disjoint`, how many models, the first ones, are targets, even; N is a
        multiple of 4 then.  0 for protocol `bank`.

    Raises:
      InputError: M or N is not even and positive, or the data has fewer than N + P records.
    """
    for name, value in (("models", num_models), ("candidates", num_candidates)):
        if value < 2 or value % 2:
            raise InputError(
                f"{task}: a bank of {value} {name} was asked for, expected an even number: its "
                "models come in pairs that share the records between them"
            )
    if num_population < 0 or num_candidates + num_population > num_records:
        raise InputError(
            f"{task}: {num_candidates} candidates and {num_population} population records were "
            f"asked for, the data has {num_records}"
        )
    # The NULL role changes who is a member, never which records are audited.
    order = np.asarray(
        jax.random.permutation(identity_key(seed, task, Role.BANK_SPLIT), num_records), np.int32
    )
    size = num_candidates // 2 if num_targets else num_candidates
    member = np.zeros((num_models, num_candidates), bool)
    for pair in range(num_models // 2):
        key = identity_key(seed, task, role, 1 + pair)
        ranks = np.asarray(jax.random.permutation(key, size))
        # The targets' part comes first.
        part = slice(0, size) if not num_targets or 2 * pair < num_targets else slice(size, None)
        member[2 * pair, part] = ranks < size // 2
        member[2 * pair + 1, part] = ranks >= size // 2
    return Halves(
        order[:num_candidates],
        order[num_candidates : num_candidates + num_population],
        member,
        np.arange(num_candidates) < size if num_targets else None,
    )
