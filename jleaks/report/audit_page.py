"""The page of an audit (see `jleaks.report.html`); its figures are SVG."""

from typing import Any

import markupsafe

from jleaks.auditing import risk
from jleaks.auditing.result import Audit
from jleaks.auditing.verdict import RULE
from jleaks.metrics.intervals import Interval
from jleaks.report import audit_figures, html
from jleaks.report.table import Cell, Table

# As many records, and rows of a part's table, are shown.
_MOST_RECORDS, _MOST_PARTS = 10, 20

# Where an audit's page has what a framework asks for.
_WHERE = {
    "EDPB Opinion 28/2024": "first screen; what an attacker needs; who is at risk",
    "NIST AI 100-2": "all attacks; method",
    "NIST SP 800-226": "epsilon on the first screen; method",
    "OWASP AISVS": "level and rule; the policy of jleaks gate",
}


def page(audit: Audit, title: str = "", command: str = "") -> str:
    """Returns the report as the text of an HTML file."""
    heading = "Membership-inference audit"
    return html.render(
        "audit.html",
        heading=f"{heading}: {title}" if title else heading,
        level=str(audit.verdict.level),
        lead=lead(audit),
        level_class=str(audit.verdict.level).replace(" ", "-"),
        level_number=int(audit.verdict.level),
        reasons=_sentence("; ".join(audit.verdict.reasons)),
        rule=RULE,
        cards=_cards(audit),
        needs=_needs(audit),
        worth=_worth(audit),
        risk_sentence=_risk_sentence(audit),
        top_records=_top_records(audit),
        parts=_parts(audit),
        figures=_figures(audit),
        untested=untested(audit),
        attacks=_attacks(audit),
        method=_method(audit),
        provenance=[*html.flat(audit.about), *([("command", command)] if command else [])],
        notes=audit.notes,
        frameworks=html.frameworks(_WHERE),
    )


def lead(audit: Audit) -> str:
    """Returns the one sentence that a reader who knows nothing of the field decides by."""
    members = int((audit.records.member & audit.audited).sum())
    if audit.called:
        called = audit.called[0.01]
        found = round(called.tpr.mean * members)
        return (
            f"Of {members:,} records in the training data, an attacker with {audit.num_shadows} models "
            f"of his own recognises {found:,} ({_percent(called.tpr.mean)}, 95% interval "
            f"{_percent(called.tpr.low)} to {_percent(called.tpr.high)}) with a rule made to accuse one "
            f"outsider in a hundred; here it accuses {_percent(called.fpr.mean)} of them."
        )
    tpr = audit.tpr(0.01)
    return (
        f"Of {members:,} records in the training data, an attacker without any model of his own recognises "
        f"{round(tpr.mean * members):,} ({_percent(tpr.mean)}, 95% interval {_percent(tpr.low)} to "
        f"{_percent(tpr.high)}) while accusing one outsider in a hundred, if he knew where to draw the "
        "line."
    )


def _cards(audit: Audit) -> list[dict[str, str]]:
    best = next(row for row in audit.rows if row["strongest"])
    auc = best["auc"]
    return [
        {
            "label": "Strongest attack",
            "value": best["title"],
            "note": "chosen on shadow models" if audit.called else "chosen by a fixed order",
        },
        {
            "label": "AUC",
            "value": f"{auc['mean']:.3f}",
            "note": f"95% interval {auc['low']:.3f} to {auc['high']:.3f}; 0.5 is guessing",
        },
        {
            "label": "TPR at 0.1% FPR",
            "value": _percent(audit.tpr(0.001).mean),
            "note": _bounds(audit.tpr(0.001)),
        },
        {
            "label": "Epsilon is at least",
            "value": f"{audit.epsilon['one run']:.2f}",
            "note": f"95%, delta {audit.about['delta']:g}, one training run",
        },
        {
            "label": "Accuracy",
            "value": f"{audit.train_accuracy:.3f} / {audit.test_accuracy:.3f}",
            "note": "members / non-members",
        },
    ]


def _needs(audit: Audit) -> str:
    best = next(row for row in audit.rows if row["strongest"])
    if not audit.num_shadows:
        return (
            f"{best['title']} needs the model's answers and true labels alone, no data and no models of "
            "the attacker's own."
        )
    seconds = audit.seconds["shadows"]
    took = f"; training them took {seconds:,.0f} s of one process" if seconds else ""
    return (
        f"{best['title']} needs the model's answers to the records asked about, their true labels, data of "
        f"the same kind, and {audit.num_shadows} models trained the same way{took}."
    )


def _worth(audit: Audit) -> Table | None:
    if not audit.called:
        return None
    rows = [
        [
            f"1 in {round(1 / prior):,}",
            *(
                "{} [{}, {}]".format(*map(_share, called.precision[prior]))
                for called in audit.called.values()
            ),
        ]
        for prior in next(iter(audit.called.values())).precision
    ]
    return Table.of(
        "",
        "Of those whom the attack calls members, the share that are (precision), with thresholds set on "
        "shadow models alone; in brackets what the 95% bounds of both rates leave possible.",
        ["One in so many is a member", *(f"threshold for {fpr:.1%} FPR" for fpr in audit.called)],
        1,
        rows,
    )


def _share(value: float) -> str:
    return "nobody" if value != value else _percent(value)


def _risk_sentence(audit: Audit) -> str:
    members = int((audit.records.member & audit.audited).sum())
    if audit.p is None:
        return "Without shadow models no record has a threshold; the list is a ranking alone."
    count = int(audit.at_risk().sum())
    return (
        f"{count:,} of {members:,} members stand out from what non-members of other models score, with "
        f"{risk.FALSE_DISCOVERIES:.0%} of them expected to do so by chance (Benjamini & Hochberg)."
    )


def _top_records(audit: Audit) -> Table | None:
    top = [row for row in audit.record_rows() if row["member"]][:_MOST_RECORDS]
    if not top:
        return None
    groups, p = list(audit.records.groups), ["p"] if audit.p is not None else []
    rows = [
        [
            *(str(row[name]) for name in ("id", "label", *groups)),
            str(row["rank"]),
            f"{row['score']:.3g}",
            *(f"{row[name]:.2g}" for name in p),
        ]
        for row in top
    ]
    caption = f"The {len(top)} members with the highest scores; all records are in records.csv."
    if p:
        caption += " p: how often a non-member of another model scores as high."
    heads = ["Record", "Label", *groups, "Rank", "Score", *p]
    return Table.of("", caption, heads, 2 + len(groups), rows)


def _parts(audit: Audit) -> list[Table]:
    found = []
    for name, parts in audit.parts().items():
        rows = [
            [
                str(part.name),
                f"{part.num_members:,}",
                "-" if part.tpr is None else _percent(part.tpr.mean),
                "-" if part.tpr is None else _bounds(part.tpr),
                f"{part.num_nonmembers:,}",
                "-" if part.fpr is None else _percent(part.fpr.mean),
            ]
            for part in parts[:_MOST_PARTS]
        ]
        caption = (
            "At the threshold for 1% false positives on shadow models; all intervals of the table hold at "
            "once (Bonferroni)."
        )
        if len(parts) > _MOST_PARTS:
            caption += f"  {len(parts) - _MOST_PARTS} more, less exposed, are in audit.json."
        heads = [name, "Members", "found", "95% interval", "Non-members", "accused"]
        found.append(Table.of(f"By {name}", caption, heads, 1, rows))
    return found


def _figures(audit: Audit) -> list[dict[str, Any]]:
    drawn = [
        (
            audit_figures.draw_roc(audit),
            "ROC curves, both axes logarithmic; the band is the strongest attack's 95% interval over "
            "records.",
        ),
        (audit_figures.draw_scores(audit), "Scores of the strongest attack."),
        (audit_figures.draw_records(audit), "Every record's score, sorted; dashed: the threshold."),
    ]
    if len(audit.cost) > 1:
        drawn.append(
            (
                audit_figures.draw_cost(audit.cost),
                "The strongest attack with fewer shadow models, and the seconds that training them takes "
                "one process; whiskers are 95% intervals over records.",
            )
        )
    return [
        {"svg": markupsafe.Markup(audit_figures.svg(figure)), "caption": caption}
        for figure, caption in drawn
    ]


def untested(audit: Audit) -> list[str]:
    """Returns what an audit leaves open, and what would make it stronger."""
    found = []
    if not audit.num_shadows:
        found.append(
            "No shadow models: attacks that compare a record with models that did and did not train on it "
            "are several times as strong. Give a way to train (fit and predict, or a network), or "
            "answers of shadow models."
        )
    elif audit.num_shadows < 64:
        found.append(
            f"{audit.num_shadows} shadow models; 64 or more sharpen the strongest attacks."
        )
    found += [
        "One audited model: another training run on the same records may expose other records.",
        "Only the records that were given; outliers and planted canaries may leak more than the average.",
        "Attackers who see more than answers (weights, gradients), who may ask about altered copies of a "
        "record, or who influence the training data.",
        "Other leaks than membership: attributes, reconstruction, memorised text.",
    ]
    nonmembers = int((~audit.records.member & audit.audited).sum())
    if nonmembers < 1000:
        found.append(
            f"{nonmembers:,} non-members say little about false-positive rates below {5 / nonmembers:.1%}; "
            "more of them narrow the intervals."
        )
    return found


def _attacks(audit: Audit) -> Table:
    rows = []
    for row in audit.rows:
        strength, auc = row["strength_on_shadows"], row["auc"]
        texts = (
            row["title"],
            row["source"],
            f"{auc['mean']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]",
            _text(row["tpr_at_fpr_0.001"]),
            _text(row["tpr_at_fpr_0.01"]),
            "-" if strength is None else _percent(strength),
        )
        rows.append([Cell(text, row["strongest"]) for text in texts])
    return Table.of(
        "",
        "Every number is the audited model's own, with its 95% interval over records; shadow models are "
        "never averaged in. “On shadows”: mean TPR at 1% FPR when each shadow is attacked with the others; "
        "by it, and not by what it finds on the audited model, the strongest attack (bold) was chosen.",
        ("Attack", "Source", "AUC", "TPR at 0.1% FPR", "TPR at 1% FPR", "on shadows"),
        2,
        rows,
    )


def _method(audit: Audit) -> list[str]:
    sides = [
        int((side & audit.audited).sum()) for side in (audit.records.member, ~audit.records.member)
    ]
    found = [
        f"{sides[0]:,} members and {sides[1]:,} non-members of {audit.records.num_classes} classes.",
        f"{audit.num_shadows} shadow models, each trained on an independent random subset of "
        f"{audit.shadows_of}."
        if audit.num_shadows
        else "No shadow models.",
        "TPR at a named FPR: with the interval of jleaks.metrics.operating_points, which holds although "
        "the threshold is chosen on the same records; records are taken to be independent given the model.",
        "Epsilon: one training run, members and non-members matched in pairs (Steinke, Nasr & "
        "Jagielski 2023); over thresholds, with records as independent trials, "
        f"{audit.epsilon['thresholds']:.2f}.",
    ]
    if audit.called:
        found.append(
            "Thresholds, p-values and the choice of the strongest attack come from shadow models, each "
            "attacked with the others; nothing was chosen by what it finds on the audited model."
        )
    return found


def _percent(value: float) -> str:
    return f"{100 * value:.3g}%"


def _bounds(interval: Interval) -> str:
    return f"[{_percent(interval.low)}, {_percent(interval.high)}]"


def _text(value: dict[str, float]) -> str:
    return f"{_percent(value['mean'])} [{_percent(value['low'])}, {_percent(value['high'])}]"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
