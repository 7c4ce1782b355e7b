"""A bank's arrays on the devices: whole or in blocks of records, and how many records fit."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jleaks.attacks.attack import Attack
from jleaks.attacks.bank import Bank
from jleaks.attacks.per_record import PerRecord
from jleaks.attacks.references import References
from jleaks.metrics import bank_metrics
from jleaks.training.packing import device_memory

_MEMORY_SHARE = 0.4
# Rows that a device which is no CPU evaluates at once: one after the other they would be a thousand small
# kernels each.
_ROWS_TOGETHER = 64

# By name; records are the last axis of each.
Arrays = dict[str, Any]

# What arrays say of the records themselves.
RECORDS = ("labels", "valid", "candidate")


def bank_arrays(bank: Bank, attacks: Sequence[Attack], roles: Sequence[References]) -> Arrays:
    """Returns what the attacks look at, on the host.

    Args:
      bank: Answers and membership.
      attacks: All that are to be run.
      roles: References of targets, and of shadows.
    """
    several = any(attack.queries == "all" for attack in attacks)
    queries = slice(None) if several else slice(1)
    names = sorted({name for attack in attacks for name in attack.signals})
    arrays = {name: getattr(bank, name) for name in names}
    if "correct" in arrays:
        arrays["correct"] = arrays["correct"][queries]
    for refs in roles:
        if refs.draw is not None:
            arrays["rank"] = refs.draw.rank
    return {
        **arrays,
        "phi": bank.phi[queries],
        "member": bank.member,
        "labels": np.asarray(bank.labels, np.int32),
        "valid": np.ones(len(bank.labels), bool),
        "candidate": ~bank.population,
    }


def reference_arrays(references: References) -> dict[str, np.ndarray]:
    """Returns who is compared with whom, as `ReferenceStatistics` takes it, targets on axis 0."""
    return {
        "targets": references.targets,
        "models": references.models,
        "left_out": references.left_out,
    }


def drawn_arrays(references: References) -> dict[str, np.ndarray]:
    """Returns how many references of either side a record takes, where they are drawn."""
    draw = references.draw
    return {} if draw is None else {"drawn": np.array([draw.inside, draw.outside], np.int32)}


def blocks(arrays: Arrays, size: int) -> Iterator[tuple[slice, Arrays]]:
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


def rows_together(mesh: Mesh) -> int:
    """Returns how many rows, one attack's scores of one target each, a device evaluates at once."""
    return 1 if of_cpu(mesh) else _ROWS_TOGETHER


def of_cpu(mesh: Mesh | None) -> bool:
    """Says whether a mesh, or JAX's first device without one, is of CPU devices."""
    platform = jax.default_backend() if mesh is None else mesh.devices.flat[0].platform
    return platform == "cpu"


def bytes_per_record(arrays: Arrays, attacks: Sequence[Attack], targets: int, mesh: Mesh) -> int:
    """Returns what evaluating takes for each record at most, on all devices together."""
    models, queries = arrays["member"].shape[0], arrays["phi"].shape[0]
    given = sum(array[..., :1].nbytes for array in arrays.values())
    # As many on every device.
    targets = -(-targets // mesh.size) * mesh.size
    # For targets and shadows, 4 bytes each: scores of all attacks, summaries of both sides for every query,
    # thirty more, and the membership indices.
    several = (attack.variants is not None or attack.learn is not None for attack in attacks)
    rows = len(attacks) + sum(several)
    # What attacks on one record look at, and the lists of one target's references.
    own = [attack.score for attack in attacks if isinstance(attack.score, PerRecord)]
    rows += sum(len(score.numbers) for score in own)
    lists = sum(len(score.lists) for score in own)
    kept = 4 * 2 * targets * (rows + 8 * queries + 31)
    # Finished scores of all attacks, which are measured together.
    kept += 4 * targets * len(attacks)
    # Every device's sums of influences, and those of the rows that it evaluates at once.
    influences = len(attacks) * (mesh.size + 1) + rows_together(mesh) * mesh.size
    kept += 4 * len(bank_metrics.INFLUENCES) * influences
    # Answers of all models and tables made of them, on every device: those of a CPU share them.
    tables = given + 4 * models * (8 + 3 * sum(len(score.numbers) for score in own))
    return kept + mesh.size * 4 * models * 4 * lists + tables * (1 if of_cpu(mesh) else mesh.size)


def targets_at_once(
    arrays: Arrays, attacks: Sequence[Attack], targets: int, mesh: Mesh
) -> int | None:
    """Returns how many targets are attacked at a time on all records; None if not one a device fits."""
    records, size = arrays["member"].shape[1], mesh.size
    least, more = (
        records * bytes_per_record(arrays, attacks, number, mesh) for number in (size, 2 * size)
    )
    spare, each = _memory(mesh) - least, more - least
    if spare < 0:
        return None
    found = size if of_cpu(mesh) else -(-targets // size) * size
    # By halves: programs, which take long to compile, are of few shapes whatever memory is free.
    while (found // size - 1) * each > spare:
        found = -(-found // (2 * size)) * size
    return found


def records_at_once(arrays: Arrays, attacks: Sequence[Attack], targets: int, mesh: Mesh) -> int:
    """Returns how many records can be scored at a time for all targets."""
    records = arrays["member"].shape[1]
    per_record = bytes_per_record(arrays, attacks, targets, mesh)
    return max(1, min(records, int(_memory(mesh) / per_record)))


def _memory(mesh: Mesh) -> float:
    return _MEMORY_SHARE * device_memory(mesh.devices.flat[0]) * mesh.size
