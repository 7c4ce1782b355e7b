"""The HTML page of attacks on a bank of models."""

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jleaks import npz
from jleaks.attacks.registry import ATTACKS
from jleaks.errors import InputError
from jleaks.report import statements
from jleaks.report.bank_tables import Rows, bank_tables, bank_title, cost_table
from jleaks.report.figures.cost import draw_cost, draw_roc
from jleaks.report.figures.style import png
from jleaks.report.html import Picture, RunPage, Section
from jleaks.rows import OF_SUMMARY, Row, read_rows


def bank_page(folder: Path, command: str = "") -> RunPage:
    """Returns the page of what launch.attack wrote.

    Args:
      folder: With summary.jsonl; comparisons.jsonl, audit.jsonl, usage.jsonl, triage.jsonl, cost.jsonl,
        roc.npz or a roc.png where they were made.
      command: What made the rows, where they do not say so.

    Raises:
      InputError: rows are missing or not as they must be, or an attack is not registered.
    """
    summary = read_rows(folder / "summary.jsonl", OF_SUMMARY)
    for row in summary:
        if row["attack"] not in ATTACKS:
            raise InputError(
                f"{folder}/summary.jsonl: attack {row['attack']!r} is not jleaks' own; --plugin=FILE.py "
                "registers it"
            )
    first = summary[0]
    audits = _read(folder / "audit.jsonl")
    best = _strongest(summary)
    alone = _strongest([row for row in summary if row["needs"] == "none"])
    told = (
        [f"{_sentence(alone)} That takes no model of his own."] if alone not in ({}, best) else []
    )
    return RunPage(
        heading=f"Membership inference: {bank_title(first)}, every attack on every model",
        lead=(
            f"{first['num_targets']} models of {bank_title(first)} were attacked, each with up to "
            f"{max(row['num_references'] for row in summary)} others as references. {_sentence(best)}"
        ),
        first=[*told, statements.CHOSEN],
        cards=_cards(best, audits),
        sections=[
            Section("Figures", pictures=_pictures(folder, summary)),
            Section("Every attack", tables=_tables(folder, summary, audits)),
        ],
        untested=_untested(first, bool(audits)),
        method=[
            "Every model is trained on a random half of the records; each is the target in turn, the "
            "others are its references, save those whose records would give its members away.",
            "Means over targets; intervals hold 95% over records, which targets share: models are taken as "
            "they are.",
            "A TPR at a named FPR is the largest among thresholds on the target's own records whose FPR is "
            "no larger; precision, recall and balanced accuracy are at a threshold chosen on a shadow.",
        ],
        provenance=[*statements.provenance(summary, folder, command), *_seconds(first)],
        where={**statements.WHERE, "NIST SP 800-226": "lower bounds on epsilon"}
        if audits
        else statements.WHERE,
        notes=list(first.get("notes") or ()),
    )


def _read(path: Path) -> list[Row]:
    """Returns rows that a run need not have."""
    return read_rows(path, (), may_be_empty=True) if path.exists() else []


def _strongest(summary: Rows) -> Mapping[str, Any]:
    """Returns the row of the attack that recognises most members at an FPR of 1%; of equal ones by AUC."""
    return max(
        summary,
        key=lambda row: (row["tpr_at_fpr_0.01"]["mean"] or 0.0, row["auc"]["mean"] or 0.0),
        default={},
    )


def _bounds(
    value: Mapping[str, Any],
    row: Mapping[str, Any],
    text_fn: Callable[[float], str] = statements.percent,
) -> str:
    """Returns the interval of a metric; those that earlier versions took over targets are not shown."""
    if row.get("intervals") != "records" or value["low"] is None:
        return "no interval over records"
    low, high = (text_fn(value[end]) for end in ("low", "high"))
    return f"95% interval over records {low} to {high}"


_NEEDS = {
    "none": "no reference model",
    "out": "OUT references",
    "proxies and out": "OUT references and proxies",
    "in and out": "IN and OUT references",
}


def _sentence(row: Mapping[str, Any]) -> str:
    attack, tpr, auc = ATTACKS[row["attack"]], row["tpr_at_fpr_0.01"], row["auc"]
    return (
        f"{attack.title} ({_NEEDS[row['needs']]}) recognises {statements.percent(tpr['mean'])} of a "
        f"model's members ({_bounds(tpr, row)}) while accusing one outsider in a hundred; "
        f"{statements.pointing(auc['mean'])}."
    )


def _cards(best: Mapping[str, Any], audits: Rows) -> list[tuple[str, str, str]]:
    auc = best["auc"]
    found = [
        (
            "Strongest attack",
            ATTACKS[best["attack"]].title,
            _NEEDS[best["needs"]],
        ),
        ("AUC", f"{auc['mean']:.3f}", f"{_bounds(auc, best, '{:.3f}'.format)}; 0.5 is guessing"),
    ]
    for rate, title in (("0.01", "1%"), ("0.001", "0.1%")):
        value = best[f"tpr_at_fpr_{rate}"]
        found.append(
            (f"TPR at {title} FPR", statements.percent(value["mean"]), _bounds(value, best))
        )
    if audits:
        middle = statistics.median(row["epsilon_one_run"] for row in audits)
        found.append(
            (
                "Epsilon is at least",
                f"{middle:.2f}",
                f"median target; each bound 95%, delta {audits[0]['delta']:g}, one run",
            )
        )
    train, test = best.get("train_accuracy"), best.get("test_accuracy")
    if train is not None and test is not None:
        found.append(("Accuracy", f"{train:.3f} / {test:.3f}", "members / non-members"))
    return found


def _tables(folder: Path, summary: list[Row], audits: list[Row]) -> list[Any]:
    comparisons, usage, risks, orders, cost = (
        _read(folder / f"{name}.jsonl")
        for name in ("comparisons", "usage", "triage", "alike", "cost")
    )
    found = bank_tables(summary, comparisons, audits, usage, risks, orders)
    return [*found, cost_table(cost)] if cost else found


def _pictures(folder: Path, summary: Rows) -> list[Picture]:
    """Returns the ROC curves and what references cost: the files beside the rows, or drawn from them."""
    found = []
    title = f"{bank_title(summary[0])}: ROC curves"
    roc = next(
        (p for p in (folder / "figures" / "roc.png", folder / "roc.png") if p.exists()), None
    )
    if roc is not None:
        found.append(Picture(title, roc.read_bytes()))
    elif (path := folder / "roc.npz").exists():
        kept, _ = npz.load(path, "attack the bank again")
        names, fpr, tpr = ([*map(str, kept["attacks"])], kept["fpr"], kept["tpr"])
        count = int(min(row["num_nonmembers"] for row in summary))
        found.append(Picture(title, png(draw_roc(title, names, fpr, tpr, count))))
    if cost := _read(folder / "cost.jsonl"):
        title = f"{bank_title(summary[0])}: what references cost and what they bring"
        found.append(Picture(title, png(draw_cost(title, cost))))
    return found


def _untested(first: Mapping[str, Any], has_audits: bool) -> list[str]:
    found = []
    said = {
        "synthetic": "Synthetic data: the records are drawn from a generator, no real ones.",
        "stand-in": "Stand-in data: another public data set in the format of the paper's.",
        "own": "Own data: a user's own records, as they were given.",
        "scores": "Scores from a file: nothing is known here of the records or of how models were trained.",
    }
    if first["source"] in said:
        found.append(said[first["source"]])
    found += [
        "One bank: one draw of records, one recipe, one network.",
        "An attacker whose references are of another distribution, or fewer; other recipes and defences.",
    ]
    if not has_audits:
        found.append("Epsilon was not bounded (no attack in --audit).")
    return [*found, statements.OTHER_LEAKS]


def _seconds(first: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = {"training_seconds": "Training, seconds", "evaluation_seconds": "Evaluation, seconds"}
    return [(title, f"{first[name]:,.1f}") for name, title in names.items() if first.get(name)]
