"""The report of an audit: one self-contained page, the records as tables, everything as JSON.

The page is made by a template (`templates/audit.html`) that escapes all text; figures are SVG inside it.
It needs no network and prints well.
"""

import csv
import dataclasses
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from jleaks.auditing import risk
from jleaks.auditing.result import Audit
from jleaks.auditing.verdict import RULE, Level
from jleaks.files import replace_file
from jleaks.metrics.intervals import Interval
from jleaks.report import audit_figures

# As many rows of a part's table are shown.
_MOST_PARTS = 20

_FRAMEWORKS = (
    (
        "EDPB Opinion 28/2024",
        "whether personal data of the training set can be obtained from the model, by means reasonably "
        "likely to be used (sections 3.2 and 3.3)",
        "first screen; what an attacker needs; who is at risk",
    ),
    (
        "NIST AI 100-2 E2025",
        "membership inference as a privacy attack (NISTAML.033), and its mitigation",
        "all attacks; method",
    ),
    (
        "NIST SP 800-226",
        "evaluation of differential-privacy guarantees: empirical lower bounds beside claimed epsilon",
        "epsilon on the first screen; method",
    ),
    (
        "OWASP AISVS",
        "privacy testing before release, membership inference among the attacks, with a threshold",
        "level and rule; the policy of jleaks gate",
    ),
)


def save(
    audit: Audit,
    folder: str | os.PathLike[str],
    *,
    title: str = "",
    command: str = "",
) -> list[Path]:
    """Writes report.html, audit.json and records.csv (and records.parquet where pyarrow is installed).

    Args:
      audit: What was found.
      folder: Where; created if it is not there.
      title: Name of the audited model, for the page's head.
      command: What made it, for the page's end.

    Returns:
      The files.

    Raises:
      InputError: one cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = [
        replace_file(folder / "report.html", page(audit, title, command).encode()),
        replace_file(
            folder / "audit.json", json.dumps(as_dict(audit, title, command), indent=1).encode()
        ),
        replace_file(folder / "records.csv", _csv(audit.record_rows())),
    ]
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        return written
    content = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(audit.record_rows()), content)
    written.append(replace_file(folder / "records.parquet", content.getvalue().to_pybytes()))
    return written


def page(audit: Audit, title: str = "", command: str = "") -> str:
    """Returns the report as the text of an HTML file."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jleaks.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    top = [row for row in audit.record_rows() if row["member"]][:10]
    return environment.get_template("audit.html").render(
        audit={"level": str(audit.verdict.level)},
        title=title,
        lead=lead(audit),
        level_class=str(audit.verdict.level).replace(" ", "-"),
        level_number=int(audit.verdict.level),
        reasons=_sentence("; ".join(audit.verdict.reasons)),
        rule=RULE,
        cards=_cards(audit),
        needs=_needs(audit),
        worth=_worth(audit),
        risk_sentence=_risk_sentence(audit),
        top_records=top,
        has_p=audit.p is not None,
        group_names=list(audit.records.groups),
        parts=_parts(audit),
        figures=_figures(audit),
        untested=untested(audit),
        attacks=[_attack(row) for row in audit.rows],
        method=_method(audit),
        provenance=[*_flat(audit.about), *([("command", command)] if command else [])],
        notes=audit.notes,
        frameworks=_FRAMEWORKS,
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


def _worth(audit: Audit) -> list[dict[str, Any]]:
    return [
        {
            "label": f"threshold for {fpr:.1%} FPR",
            "rows": [
                {
                    "prior": f"1 in {round(1 / prior):,}",
                    "text": f"{_share(value)} [{_share(low)}, {_share(high)}]",
                }
                for prior, (value, low, high) in called.precision.items()
            ],
        }
        for fpr, called in audit.called.items()
    ]


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


def _parts(audit: Audit) -> list[dict[str, Any]]:
    found = []
    for name, parts in audit.parts().items():
        rows = [
            {
                "name": part.name,
                "members": part.num_members,
                "nonmembers": part.num_nonmembers,
                "tpr": "-" if part.tpr is None else _percent(part.tpr.mean),
                "interval": "-" if part.tpr is None else _bounds(part.tpr),
                "fpr": "-" if part.fpr is None else _percent(part.fpr.mean),
            }
            for part in parts[:_MOST_PARTS]
        ]
        found.append({"name": name, "rows": rows, "left": max(0, len(parts) - _MOST_PARTS)})
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


def _attack(row: dict[str, Any]) -> dict[str, Any]:
    strength = row["strength_on_shadows"]
    return {
        "title": row["title"],
        "source": row["source"],
        "strongest": row["strongest"],
        "auc": f"{row['auc']['mean']:.3f} [{row['auc']['low']:.3f}, {row['auc']['high']:.3f}]",
        "tpr": _text(row["tpr_at_fpr_0.01"]),
        "tpr_small": _text(row["tpr_at_fpr_0.001"]),
        "shadows": "-" if strength is None else _percent(strength),
    }


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


def as_dict(audit: Audit, title: str = "", command: str = "") -> dict[str, Any]:
    """Returns an audit as JSON values: what `jleaks gate` and scripts read."""
    return {
        "title": title,
        **audit.numbers(),
        "reasons": list(audit.verdict.reasons),
        "lead": lead(audit),
        "strongest": audit.strongest,
        "num_shadows": audit.num_shadows,
        "num_members": int((audit.records.member & audit.audited).sum()),
        "num_nonmembers": int((~audit.records.member & audit.audited).sum()),
        "train_accuracy": audit.train_accuracy,
        "test_accuracy": audit.test_accuracy,
        "num_at_risk": int(audit.at_risk().sum()),
        "cost": [
            {"num_shadows": p.num_shadows, "tpr": _plain(p.tpr), "seconds": p.seconds}
            for p in audit.cost
        ],
        "seconds": {name: round(value, 3) for name, value in audit.seconds.items()},
        "notes": list(audit.notes),
        "untested": untested(audit),
        **audit.about,
        **({"command": command} if command else {}),
        "rule": RULE,
        "levels": [str(level) for level in Level],
    }


def _plain(interval: Interval) -> dict[str, float]:
    kept = dataclasses.asdict(interval)
    return {name: kept[name] for name in ("mean", "low", "high", "n")}


def _csv(rows: Sequence[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


def _percent(value: float) -> str:
    return f"{100 * value:.3g}%"


def _bounds(interval: Interval) -> str:
    return f"[{_percent(interval.low)}, {_percent(interval.high)}]"


def _text(value: dict[str, float]) -> str:
    return f"{_percent(value['mean'])} [{_percent(value['low'])}, {_percent(value['high'])}]"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{name} ")
        else:
            found.append((f"{prefix}{name}", str(value)))
    return found
