"""How well an attack tells which share of a data set was used, on data sets made of a bank's records.

Every model of a bank is asked about data sets of which it was trained on a stated share: members and
others of its own, drawn by the key.  As for the risk of single records, the models are dealt into halves,
and the references of either half are the other half (`jleaks.attacks.across_halves`): a target, and the
models of its own half whose rates stand for its own, are attacked in the same way, and nobody is compared
with the target.  Its twin, whose members are its non-members, is left out.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jleaks.attacks.across_halves import AcrossHalves, model_halves
from jleaks.attacks.attack import Attack
from jleaks.attacks.bank import Bank
from jleaks.attacks.options import Options
from jleaks.attacks.references import RELATED, relations
from jleaks.errors import InputError
from jleaks.experiments.bank_results import Row
from jleaks.keys import Role, identity_generator
from jleaks.metrics.usage import FEWEST, usage

# Shares at which an attack is tried, and records of a data set at most.
SHARES = (0.0, 0.1, 0.5, 0.9, 1.0)
_MOST_RECORDS = 1_000


def planted(
    member: Bool[np.ndarray, "records"], share: float, count: int, generator: np.random.Generator
) -> Int[np.ndarray, "count"]:
    """Draws `count` records, that share of them members."""
    inside = round(share * count)
    return np.concatenate(
        [
            generator.choice(np.flatnonzero(side), number, replace=False)
            for side, number in ((member, inside), (~member, count - inside))
        ]
    )


def check(bank: Bank) -> None:
    """Checks that every target has enough models of its own half beside it.

    Raises:
      InputError: there are too few.
    """
    first = model_halves(bank).first
    # Less the target and a twin.
    others = int(min(first.sum(), (~first).sum())) - 2
    if others < FEWEST:
        raise InputError(
            f"{bank.meta.get('task', 'bank')}: of {bank.num_models} models, {others} of a target's own "
            f"half tell its rates; expected at least {FEWEST}: train more models"
        )


def data_usage(
    bank: Bank,
    attacks: Sequence[Attack],
    shares: Sequence[float] = SHARES,
    num_records: int | None = None,
    options: Options | None = None,
    confidence: float = 0.95,
) -> list[Row]:
    """Returns one row per attack, target and share.

    Fields: task, source, seed, attack, target, num_models, num_references (models whose rates are taken),
    num_records; used, the true share; share, the estimate (null where references call no more members than
    others), share_low, share_high; tpr, fpr of the references; confidence.

    Args:
      bank: Answers and membership.
      attacks: `jleaks.attacks.across_halves.refusal` must be None for each.
      shares: Of which each data set is used.
      num_records: Of each data set; None for as many as every share allows, up to 1,000.
      options: Parameters of attacks; of one of several forms the default is taken.
      confidence: Of each interval.

    Raises:
      InputError: a share is not in [0, 1], an attack cannot be run, or there are too few models or records.
    """
    if bad := [share for share in shares if not 0 <= share <= 1]:
        raise InputError(f"share {bad[0]:g} of a data set; expected numbers from 0 to 1")
    check(bank)
    across = AcrossHalves(bank, attacks, options)
    member = bank.member[across.halves.order][:, across.candidates]
    most = int(min(member.sum(1).min(), (~member).sum(1).min()))
    count = min(most, _MOST_RECORDS) if num_records is None else num_records
    if not 1 <= count <= most:
        raise InputError(
            f"data sets of {count:,} records were asked for; of the {len(across.candidates):,} audited a "
            f"model has, or has not, {most:,} at least: expected from 1 to that"
        )
    found = _scores(across)
    alike = np.abs(relations(bank))[np.ix_(across.halves.order, across.halves.order)] > RELATED
    about = {
        **bank.about,
        "num_models": bank.num_models,
        "num_records": count,
        "confidence": confidence,
    }
    rows: list[Row] = []
    for attack in attacks:
        scores = found[attack.name]
        for place, target in enumerate(across.halves.order.tolist()):
            like = (across.halves.first == across.halves.first[place]) & ~alike[place]
            like[place] = False
            generator = identity_generator(about["seed"], about["task"], Role.USAGE, target)
            for share in shares:
                mine = planted(member[place], share, count, generator)
                told = usage(
                    scores[place, mine], scores[like][:, mine], member[like][:, mine], confidence
                )
                rows.append(
                    {
                        **about,
                        "attack": attack.name,
                        "target": target,
                        "num_references": int(like.sum()),
                        "used": round(share * count) / count,
                        "share": None if np.isnan(told.share) else round(told.share, 6),
                        "share_low": round(told.low, 6),
                        "share_high": round(told.high, 6),
                        "tpr": round(told.tpr, 6),
                        "fpr": round(told.fpr, 6),
                    }
                )
    return rows


def _scores(across: AcrossHalves) -> dict[str, Float[np.ndarray, "models records"]]:
    """Returns every model's scores with the other half for references, in float64."""
    shape = across.bank.num_models, len(across.candidates)
    found = {attack.name: np.empty(shape) for attack in across.attacks}
    seen = 0
    for block in across.blocks():
        span = slice(seen, seen + len(block.records))
        for name, scores in block.scores.items():
            # Scored with the first half for references, then with the second.
            for own, pool in zip(scores, (across.halves.first, ~across.halves.first), strict=True):
                found[name][~pool, span] = own[~pool]
        seen = span.stop
    return found
