"""Every attack on a bank, jleaks' own and a user's alike, by name.

An entry is an `Attack`; jleaks' own lie beside what they compute, one file per family.  A user's is
registered by `jleaks.attacks.per_record.attack_on`, or by `ATTACKS.register(name, Attack(...))`.
"""

from collections.abc import Sequence

from jleaks.attacks import (
    baseline,
    bavaria,
    calibration,
    hop_skip_jump,
    informia,
    label_boundary,
    lira,
    loss_trace,
    proxy,
    rapid,
    rmia,
)
from jleaks.attacks.attack import Attack
from jleaks.attacks.options import NAMES
from jleaks.errors import InputError
from jleaks.registry import Registry

ATTACKS: Registry[Attack] = Registry("attack", besides=("all",))

_FAMILIES = (
    *(
        baseline,
        label_boundary,
        hop_skip_jump,
        loss_trace,
        calibration,
        rapid,
        lira,
        proxy,
        rmia,
        informia,
        bavaria,
    ),
)
_OWN = {attack.name: attack for family in _FAMILIES for attack in family.ENTRIES}
for _name in NAMES:
    ATTACKS.register(_name, _OWN[_name])


def get_attacks(names: Sequence[str]) -> list[Attack]:
    """Returns attacks by name, each once, in registry order; all of them where "all" is among the names.

    Raises:
      InputError: there is no such attack, or no name.
    """
    if not names:
        raise InputError(f"no attack is named; allowed: all, {', '.join(ATTACKS)}")
    for name in names:
        if name != "all":
            ATTACKS.find(name)
    return [attack for attack in ATTACKS.values() if attack.name in names or "all" in names]
