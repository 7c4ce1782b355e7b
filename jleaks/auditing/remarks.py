"""What must be said beside an audit's numbers: how answers were read, and what they cannot show.

An attack that had nothing to look at finds nobody, which is no evidence that nobody can be found.
"""

from collections.abc import Sequence
from typing import Any

from jleaks.attacks.probabilities import BEYOND
from jleaks.attacks.registry import ATTACKS
from jleaks.auditing.adversaries import Attacker
from jleaks.blackbox.posteriors import Posteriors

Row = dict[str, Any]


def remarks(target: Posteriors, attacker: Attacker, rows: Sequence[Row]) -> list[str]:
    """Returns one sentence each, the strongest attack last.

    Args:
      target: What was audited.
      attacker: What was known beside it.
      rows: Of `jleaks.auditing.adversaries.attack_answers`.
    """
    shadow, found = attacker.shadow, list[str]()
    for answers in (target, shadow, attacker.random):
        if answers is not None:
            found += [note for note in answers.notes if note not in found]
    if target.is_one_hot:
        found.append(_one_hot(target))
    constant = [title(row) for row in rows if row["constant"]]
    if constant:
        found.append(
            f"{target.name}: the same score for every record by {', '.join(constant)}: an AUC of 0.5 "
            "there is by construction, no evidence of safety"
        )
    infinite = max((row["num_infinite"] or 0 for row in rows), default=0)
    if infinite:
        found.append(
            f"{target.name}: {infinite} of {target.num_records} records give their true class or "
            f"all others a posterior of 0; their phi and modified entropy are kept {BEYOND:.3g} (log 2) "
            "beyond the finite ones"
        )
    if target.label is not None and shadow is not None:
        if shadow.label is None:
            found.append(
                f"{shadow.name} has no labels: attacks on labels take no threshold from it"
            )
        elif not attacker.is_same_task or shadow.num_classes != target.num_classes:
            found.append(
                f"{shadow.name} has other classes than the target: no thresholds per class from it"
            )
    return [*found, strongest(target, attacker, rows)]


def title(row: Row) -> str:
    """Returns what a row's attack is called."""
    if row["adversary"] is None:
        return ATTACKS[row["attack"]].title.lower()
    return f"adversary {row['adversary']} ({row['attack']})"


def strongest(target: Posteriors, attacker: Attacker, rows: Sequence[Row]) -> str:
    """Returns which attack found most with what was given, and what would allow stronger ones."""
    telling = [row for row in rows if not row["constant"]]
    if telling:
        best = max(telling, key=lambda row: row["auc"])
        found = f"{title(best)}, AUC {best['auc']:.3f}"
        early = max(telling, key=lambda row: row["tpr_at_fpr_0.01"])
        tpr = f"TPR {early['tpr_at_fpr_0.01']:.3f} at 1% FPR"
        found += f", {tpr}" if early is best else f"; {title(early)}, {tpr}"
    else:
        found = "none that tells records apart"
    missing, shadow = [], attacker.shadow
    if target.label is None:
        missing.append("true labels (label in --target or --records: gap, loss, modified entropy)")
    if shadow is None:
        missing.append("a shadow's answers (--shadow: adversary 1, thresholds)")
    elif shadow.label is None and target.label is not None:
        missing.append("the shadow's labels (thresholds, also per class)")
    missing.append(
        "several shadows' answers to the same records (a score file for launch.attack: LiRA, RMIA)"
    )
    return (
        f"{target.name}: strongest of the {len(rows)} attacks that this allows (chosen with the "
        f"truth, so a little above chance even where nothing leaks): {found}; stronger attacks need "
        f"{'; or '.join(missing)}"
    )


def _one_hot(target: Posteriors) -> str:
    text = f"{target.name}: all posteriors are one-hot, the target answers labels alone: "
    if target.label is None:
        return text + (
            "nothing here tells members from others, whatever the target leaks; with true labels the gap "
            "attack would"
        )
    return text + (
        "only whether the label is right tells members from others here; several queries per record "
        "(label_only of launch.attack) or posteriors may show more"
    )
