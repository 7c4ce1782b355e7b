"""Which attacks an audit can run, their scores of the audited model and of its shadows, and the strongest.

Nothing about an attack is chosen by how well it does on the audited model: an attacker knows the
membership of the shadows alone.  Each shadow is attacked with the others as references, and the attack
that finds most of their members at a false-positive rate of 1% is the one that the audit is judged by.

An attacker from outside has shadows that trained on other records of the same kind and on none of the
audited ones.  All of them are OUT references of an audited record, so that attacks which compare with
models that trained on it cannot be run; thresholds are set where shadows, too, are outsiders: on the
audited records themselves.
"""

import dataclasses
from typing import Any, NamedTuple

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
# Where no membership of shadows is known nothing can be compared: the first of these that can be run.
IN_ORDER = ("lira_offline", "attack_r", "modified_entropy", "loss", "correctness", "maximum")


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
      strength: By attack, the share of shadows' members that it finds at `CHOICE_FPR`; NaN where no
        shadow has members that are known.
      strongest: The one that an attacker would choose.
      notes: What could not be run, and why.
    """

    scores: dict[str, Scores]
    audited: Bool[np.ndarray, "records"]
    shadows_audited: Bool[np.ndarray, "shadows records"] | None
    strength: dict[str, float]
    strongest: str
    notes: tuple[str, ...]


def attack(
    bank: Bank, attacks: list[Attack], options: Options | None = None, shadows_too: bool = True
) -> Attacked:
    """Runs every attack that can be run on the first model of a bank.

    Args:
      bank: The audited model first, then its shadows (`make_bank`).
      attacks: Those to try.
      options: Parameters of attacks.
      shadows_too: Whether shadows are attacked as well; without them no attack is known as the strongest.

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
    if bank.num_models > 2 and shadows_too:
        alone = bank.take(slice(1, None))
        possible, of_alone = [a for a in attacks if a.name in found], assign(alone)
        of_shadows = _run(alone, possible, *of_alone, options, [])
        shadows_audited = of_alone[0].audited(alone)
    strength = {
        name: _strength(rows, bank.member[1:], shadows_audited)
        for name, rows in of_shadows.items()
        if shadows_audited is not None
    }
    return _attacked(
        found, of_shadows, references.audited(bank)[0], shadows_audited, strength, notes
    )


def attack_from_outside(
    bank: Bank,
    attacks: list[Attack],
    num_audited: int,
    knows_others: bool = True,
    options: Options | None = None,
    shadows_too: bool = True,
) -> Attacked:
    """Runs every attack that can be run with shadows that never saw an audited record.

    What is chosen on shadows, a form of an attack or the strongest of all, is chosen on the records that
    they trained on and others of these; thresholds come from their scores of the audited records.

    Args:
      bank: The audited model first, then its shadows; the audited records first, then those that shadows
        trained on, if these were asked about.
      attacks: Those to try.
      num_audited: N, how many records are audited.
      knows_others: Whether the audited model was asked about the others, too.
      options: Parameters of attacks.
      shadows_too: See `attack`.

    Raises:
      InputError: none of them can be run.
    """
    notes: list[str] = []
    records = np.arange(len(bank.labels))
    audited, theirs = records < num_audited, records >= num_audited
    shadows = np.arange(1, bank.num_models)
    possible = [one for one in attacks if one.references in ("none", "out")]
    if len(possible) < len(attacks):
        names = ", ".join(one.name for one in attacks if one not in possible)
        notes.append(f"{names} left out: no shadow trained on an audited record")
    if not theirs.any() or not knows_others:
        # They rank a record among all others, of which the audited model must remember no more than a
        # shadow does.
        ranked = [one.name for one in possible if one.finish is not None]
        possible = [one for one in possible if one.finish is None]
        if ranked:
            notes.append(
                f"{', '.join(ranked)} left out: they rank a record among others, and the audited model has "
                "not answered about those that shadows trained on"
            )
    m = bank.num_models
    found = _run(bank, possible, *_others(shadows[None], [0], m, audited, theirs), options, notes)
    alone = dataclasses.replace(bank, num_targets=0).take(slice(1, None))
    places = shadows - 1
    circle = np.stack([np.roll(places, -i)[1:] for i in places])
    possible = [one for one in possible if one.name in found and shadows_too]
    of_shadows = _run(
        alone, possible, *_others(circle, places, m - 1, audited, theirs), options, []
    )
    strength = {
        name: _strength(
            rows[:, theirs], alone.member[:, theirs], np.ones((m - 1, theirs.sum()), bool)
        )
        for name, rows in of_shadows.items()
        if theirs.any()
    }
    return _attacked(
        {name: rows[:, audited] for name, rows in found.items()},
        {name: rows[:, audited] for name, rows in of_shadows.items()},
        np.ones(num_audited, bool),
        np.ones((m - 1, num_audited), bool),
        strength,
        notes,
    )


def _others(
    models: np.ndarray, targets: Any, num_models: int, audited: np.ndarray, theirs: np.ndarray
) -> tuple[References, References | None]:
    """Returns references of targets, judged on the audited records, and of their shadows, on their own.

    Args:
      models: [T, R] references of each target; the first is its shadow, compared with the others.
      targets: [T] places of the targets.
      num_models: Of the bank.
      audited: [N] which of its records are audited.
      theirs: [N] which of them shadows may have trained on; none where these were not asked about.
    """
    models = models.astype(np.int32)
    of_targets = References(np.asarray(targets, np.int32), models, num_models, judged=audited)
    if not theirs.any() or models.shape[1] < 2:
        return of_targets, None
    return of_targets, References(models[:, 0], models[:, 1:], num_models, judged=theirs)


def _attacked(
    found: dict[str, np.ndarray],
    of_shadows: dict[str, np.ndarray],
    audited: np.ndarray,
    shadows_audited: np.ndarray | None,
    strength: dict[str, float],
    notes: list[str],
) -> Attacked:
    """Chooses the strongest attack, on shadows where their membership is known."""
    if not found:
        raise InputError(f"none of the attacks can be run: {'; '.join(notes)}")
    if strength:
        strongest = max(strength, key=lambda name: strength[name])
    else:
        strongest = next((n for n in IN_ORDER if n in (of_shadows or found)), next(iter(found)))
    return Attacked(
        {name: Scores(values[0], of_shadows.get(name)) for name, values in found.items()},
        audited,
        shadows_audited,
        {name: strength.get(name, np.nan) for name in found},
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
