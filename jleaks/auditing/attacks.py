"""Which attacks an audit can run, their scores of the audited model and of its shadows, and the strongest.

Nothing about an attack is chosen by how well it does on the audited model: an attacker knows the
membership of the shadows alone.  Each shadow is attacked with the others as references, and the attack
that finds most of their members at a false-positive rate of 1% is the one that the audit is judged by.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jleaks.attacks.attack import Attack
from jleaks.attacks.bank import Bank
from jleaks.attacks.evaluate_bank import scores
from jleaks.attacks.options import Options
from jleaks.attacks.references import References, assign
from jleaks.attacks.requirements import refusal
from jleaks.errors import InputError
from jleaks.metrics.operating_points import allowed

# An attacker compares attacks at this false-positive rate.
CHOICE_FPR = 0.01
# Without shadows nothing can be compared: the first of these that the answers allow.
WITHOUT_SHADOWS = ("modified_entropy", "loss", "correctness", "maximum")


class Scores(NamedTuple):
    """Of one attack; larger means likelier a member.

    Attributes:
      target: [N] of the audited model's records.
      shadows: [S, N] of each shadow's, compared with the other shadows; None without shadows to compare.
    """

    target: Float[np.ndarray, "records"]
    shadows: Float[np.ndarray, "shadows records"] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Attacked:
    """All attacks that could be run.

    Attributes:
      scores: By attack.
      audited: [N] records that the audited model is judged on: all, unless the number of shadows on either
        side of a record would tell whether it is a member (see `jleaks.attacks.references`).
      shadows_audited: [S, N] likewise of each shadow; None without shadows to compare.
      strength: By attack, the share of shadows' members that it finds at `CHOICE_FPR`; NaN without shadows.
      strongest: The one that an attacker would choose.
      notes: What could not be run, and why.
    """

    scores: dict[str, Scores]
    audited: Bool[np.ndarray, "records"]
    shadows_audited: Bool[np.ndarray, "shadows records"] | None
    strength: dict[str, float]
    strongest: str
    notes: tuple[str, ...]


def attack(bank: Bank, attacks: list[Attack], options: Options | None = None) -> Attacked:
    """Runs every attack that can be run on the first model of a bank.

    Args:
      bank: The audited model first, then its shadows (`make_bank`).
      attacks: Those to try.
      options: Parameters of attacks.

    Raises:
      InputError: none of them can be run.
    """
    notes: list[str] = []
    whole, shadows_of = assign(bank)
    references = _first(whole, 1)
    own_shadow = None if shadows_of is None else _first(shadows_of, 1)
    found = _run(bank, attacks, references, own_shadow, options, notes)
    of_shadows: dict[str, np.ndarray] = {}
    shadows_audited = None
    # A shadow is compared with others: one alone has none.
    if bank.num_models > 2:
        alone = bank.take(slice(1, None))
        possible, of_alone = [a for a in attacks if a.name in found], assign(alone)
        of_shadows = _run(alone, possible, *of_alone, options, [])
        shadows_audited = of_alone[0].audited(alone)
    strength = {
        name: _strength(of_shadows[name], bank.member[1:], shadows_audited)
        if name in of_shadows and shadows_audited is not None
        else np.nan
        for name in found
    }
    if not found:
        raise InputError(f"none of the attacks can be run: {'; '.join(notes)}")
    if of_shadows:
        strongest = max(of_shadows, key=lambda name: strength[name])
    else:
        strongest = next((n for n in WITHOUT_SHADOWS if n in found), next(iter(found)))
    return Attacked(
        {name: Scores(values[0], of_shadows.get(name)) for name, values in found.items()},
        references.audited(bank)[0],
        shadows_audited,
        strength,
        strongest,
        tuple(notes),
    )


def _run(
    bank: Bank,
    attacks: list[Attack],
    references: References,
    shadows: References | None,
    options: Options | None,
    notes: list[str],
) -> dict[str, np.ndarray]:
    """Scores by attack, [T, N]; what cannot be run is noted and left out."""
    possible = []
    for one in attacks:
        if (why := refusal(one, bank, references, shadows)) is None:
            possible.append(one)
        else:
            notes.append(f"{one.name} left out: {why}")
    if not possible:
        return {}
    found = scores(bank, possible, references, shadows, options)
    for name, rows in list(found.items()):
        bad = np.argwhere(~np.isfinite(rows))
        if len(bad):
            del found[name]
            notes.append(f"{name} left out: {len(bad)} scores are not finite (record {bad[0, 1]})")
    return found


def _first(references: References, count: int) -> References:
    """Returns the references of the first targets alone."""
    draw = references.draw
    if draw is not None:
        draw = dataclasses.replace(draw, comparable=draw.comparable[:count])
    return References(
        references.targets[:count], references.models[:count], references.num_models, draw
    )


def _strength(
    of_shadows: Float[np.ndarray, "shadows records"],
    member: Bool[np.ndarray, "shadows records"],
    audited: Bool[np.ndarray, "shadows records"],
) -> float:
    """Returns the mean share of members above the threshold that lets in `CHOICE_FPR` of the others."""
    found = []
    for row, inside, at in zip(of_shadows, member, audited, strict=True):
        others = np.sort(row[~inside & at])[::-1]
        found.append((row[inside & at] > others[allowed(CHOICE_FPR, others.size)]).mean())
    return float(np.mean(found))
