"""What an attack needs of a bank, of the references of its targets, and of their shadows."""

from collections.abc import Sequence

from jleaks.attacks.attack import Attack
from jleaks.attacks.bank import Bank
from jleaks.attacks.references import References


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
    trained = bool(references.models.size and bank.member[references.models[0]].any())
    for needed, found, what in (
        (attack.references != "none", outside, "that did not train on a record"),
        (attack.references == "in and out", inside, "that trained on a record"),
        (attack.references == "proxies and out", trained, "that trained on any record"),
    ):
        if needed and not found:
            if bank.target_part is not None:
                return f"protocol disjoint has no reference {what} of a target's part"
            return f"no reference {what} is left but those whose membership tells the target's"
    return None


def no_shadow(attack: Attack, bank: Bank, shadows: References | None) -> str | None:
    """Returns why an attack cannot be run on the targets' shadows, or None if it can."""
    if shadows is None or (attack.references != "none" and not shadows.models.size):
        return "too few models are left to be their references"
    return lacking(attack, bank, shadows)


def refusal(
    attack: Attack, bank: Bank, references: References, shadows: References | None
) -> str | None:
    """Returns why an attack cannot be run on the targets, or None if it can."""
    reason = missing(attack, bank) or lacking(attack, bank, references)
    if reason is not None or not attack.needs_shadow:
        return reason
    why = no_shadow(attack, bank, shadows)
    return None if why is None else f"it needs shadows, which cannot be attacked: {why}"


def without_shadows(
    bank: Bank, attacks: Sequence[Attack], shadows: References | None
) -> str | None:
    """Says which attacks cannot be run on shadows, and what they lose; None where none loses anything."""
    found: dict[str, list[str]] = {}
    for attack in attacks:
        loses = callable(attack.threshold) or attack.variants is not None
        if loses and (why := no_shadow(attack, bank, shadows)) is not None:
            found.setdefault(why, []).append(attack.name)
    if not found:
        return None
    who = "; ".join(f"{', '.join(names)} ({why})" for why, names in found.items())
    return (
        f"shadows cannot be attacked by {who}: no threshold there, and forms of an attack that are chosen "
        "on a shadow stay at their default"
    )
