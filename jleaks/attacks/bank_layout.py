"""A bank, the attacks on it and whom they compare: refused where they cannot be run, or laid out."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array

from jleaks.attacks.attack import Attack, Ending
from jleaks.attacks.bank import Bank
from jleaks.attacks.bank_arrays import (
    Arrays,
    bank_arrays,
    drawn_arrays,
    of_cpu,
    reference_arrays,
    rows_together,
)
from jleaks.attacks.bank_scores import Truth
from jleaks.attacks.options import Options
from jleaks.attacks.reference_statistics import ReferenceStatistics, Tables
from jleaks.attacks.references import References
from jleaks.attacks.requirements import no_shadow, refusal
from jleaks.errors import InputError
from jleaks.metrics import bank_metrics
from jleaks.models.cpu_kernels import library
from jleaks.models.kernels import CPU, XLA, Kernels


@dataclasses.dataclass(frozen=True)
class Programs:
    """What programs are compiled for, besides shapes.

    Attributes:
      attacks: All that are run.
      attackable: Which of them can be run on shadows.
      options: Their parameters.
      num_classes: K.
      together: Targets and rows that a device works on at once.
      kernels: What ranks records and trains small networks: XLA, or jleaks' kernels for CPU devices.
    """

    attacks: tuple[Attack, ...]
    attackable: tuple[bool, ...]
    options: Options
    num_classes: int
    together: int = 1
    kernels: Kernels = XLA

    def of(self, role: str) -> list[int]:
        """Places of the attacks that are run on a role's models."""
        return [i for i, yes in enumerate(self.attackable) if yes or role == "target"]

    def raw_scores(
        self,
        role: str,
        arrays: Arrays,
        references: dict[str, Any],
        totals: dict[str, Array] | None = None,
        tables: Tables | None = None,
    ) -> tuple[list[Array], ReferenceStatistics]:
        """Returns raw scores by every attack of `of`, [T, N], or what its variants share, [T, C, N].

        Args:
          role: Whose models are attacked.
          arrays: A bank's, or a block's.
          references: The models', as `ReferenceStatistics` takes them.
          totals: Sums over all records, where `arrays` are only a block of them.
          tables: What was made of all models before.

        Returns:
          The scores, and what they were made of: its `totals` are sums over the records at hand.
        """
        known = ReferenceStatistics(
            arrays, references, totals, self.num_classes, self.together, tables
        )
        found = [self.attacks[i].score(known, self.options) for i in self.of(role)]
        return [jnp.moveaxis(a, 0, 1) if a.ndim == 3 else a for a in found], known

    def groups(self) -> dict[tuple[Ending, bool], list[int]]:
        """Places of attacks that one program evaluates, by what comes after their raw scores."""
        found: dict[tuple[Ending, bool], list[int]] = {}
        for i, attack in enumerate(self.attacks):
            found.setdefault((attack.ending, self.attackable[i]), []).append(i)
        return found


class Targets(NamedTuple):
    """What belongs to one target each; every array has them on axis 0.

    Attributes:
      roles: By role, "target" or "shadow", whom its models are compared with; see `reference_arrays`.
      truth: What is known of the records.
    """

    roles: dict[str, dict[str, Any]]
    truth: Truth


class Layout(NamedTuple):
    """A bank and its attacks, laid out for the devices.

    Attributes:
      arrays: The bank's, see `bank_arrays`.
      drawn: By role, how many references of either side a record takes, where they are drawn.
      targets: All of them.
      programs: What is run.
    """

    arrays: Arrays
    drawn: dict[str, dict[str, Any]]
    targets: Targets
    programs: Programs


def layout_of(
    bank: Bank,
    attacks: Sequence[Attack],
    references: References,
    shadows: References | None,
    options: Options | None,
    mesh: Mesh | None = None,
) -> Layout:
    """Refuses what cannot be run, and lays out the rest, for a mesh or for JAX's first device."""
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
    parameters = (options or Options()).validate()
    return Layout(
        bank_arrays(bank, attacks, tuple(roles.values())),
        {role: drawn_arrays(refs) for role, refs in roles.items()},
        Targets(
            {role: reference_arrays(refs) for role, refs in roles.items()},
            Truth(members, drawn, bank_metrics.lists(members, audited)),
        ),
        Programs(
            *(tuple(attacks), attackable, parameters, bank.num_classes),
            1 if mesh is None else rows_together(mesh),
            CPU if library.loaded() and of_cpu(mesh) else XLA,
        ),
    )
