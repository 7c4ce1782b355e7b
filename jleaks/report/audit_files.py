"""What an audit leaves behind: its page, everything as JSON, the records as tables and as arrays.

The page is made again from audit.json, which has the numbers, and records.npz, which has every record's
scores as the attacks gave them, beside what a reader calls the records, classes and groups.
"""

import csv
import hashlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jleaks import npz
from jleaks.auditing import risk
from jleaks.auditing.attacks import Attacked, Scores
from jleaks.auditing.cost import CostPoint
from jleaks.auditing.policy import read_audit
from jleaks.auditing.records import Records
from jleaks.auditing.result import Audit, plain
from jleaks.auditing.verdict import LEVELS, RULE, Verdict
from jleaks.errors import InputError
from jleaks.files import replace_file
from jleaks.metrics.intervals import Interval
from jleaks.report.audit_page import lead, page, untested

FILE = "audit.json"
_ARRAYS, _DIGEST = "records.npz", "records_sha256"
# What groups and attacks are called is put behind these in the names of arrays.
_GROUP, _SCORE = "groups/", "scores/"
_REMEDY = "run the same jleaks audit again, which trains no shadow model that it kept"


def save(
    audit: Audit,
    folder: str | os.PathLike[str],
    *,
    title: str = "",
    command: str = "",
) -> list[Path]:
    """Writes report.html, audit.json, records.npz, records.csv (and records.parquet if there is pyarrow).

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
    report = replace_file(folder / "report.html", page(audit, title, command).encode())
    arrays = npz.save(folder / _ARRAYS, _arrays(audit))
    # Whoever is stopped between the two files leaves no page to be made of an audit and another's scores.
    found = as_dict(audit, title, command) | {_DIGEST: _sha256(arrays)}
    written = [
        report,
        replace_file(folder / FILE, json.dumps(found, indent=1).encode()),
        arrays,
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


def as_dict(audit: Audit, title: str = "", command: str = "") -> dict[str, Any]:
    """Returns an audit as JSON values: what `jleaks gate` and scripts read."""
    return {
        "title": title,
        **audit.numbers(),
        "reasons": list(audit.verdict.reasons),
        "lead": lead(audit),
        "strongest": audit.strongest,
        "confidence": 1 - audit.error,
        "num_shadows": audit.num_shadows,
        "num_members": int((audit.records.member & audit.audited).sum()),
        "num_nonmembers": int((~audit.records.member & audit.audited).sum()),
        "train_accuracy": audit.train_accuracy,
        "test_accuracy": audit.test_accuracy,
        "num_at_risk": int(audit.at_risk().sum()),
        "cost": [
            {"num_shadows": p.num_shadows, "tpr": plain(p.tpr), "seconds": p.seconds}
            for p in audit.cost
        ],
        "seconds": audit.seconds,
        "notes": list(audit.notes),
        "untested": untested(audit),
        **audit.about,
        # Which of the entries these are, for the page's end.
        "provenance": list(audit.about),
        **({"command": command} if command else {}),
        "rule": RULE,
        "levels": list(LEVELS),
    }


def write_page(folder: str | os.PathLike[str]) -> Path:
    """Writes the report.html of an audit again, from what `save` left in its folder.

    Args:
      folder: With audit.json and records.npz.

    Returns:
      The page; by the same version of jleaks and matplotlib it is the one that `save` wrote, to the byte.

    Raises:
      InputError: one of the two files is missing, damaged, or of an earlier version that kept no scores;
        or the page cannot be written.
    """
    path = Path(folder) / FILE
    found = read_audit(path)
    arrays = _load(path, found)
    try:
        text = page(_audit(found, arrays), found["title"], found.get("command", ""))
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        what = f"it has no entry {error}" if isinstance(error, KeyError) else f"an entry: {error}"
        raise InputError(
            f"{path} is damaged ({' '.join(what.split())[:200]}), expected all entries as jleaks audit "
            f"writes them; {_REMEDY}"
        ) from error
    return replace_file(path.with_name("report.html"), text.encode())


def _load(path: Path, found: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns the arrays beside an audit's JSON, which must be those that were written with it."""
    if _DIGEST not in found:
        raise InputError(
            f"{path} has no {_DIGEST}: it is of an earlier version, which kept no scores in {_ARRAYS} to "
            f"make the page of; {_REMEDY}"
        )
    beside = path.with_name(_ARRAYS)
    try:
        digest = _sha256(beside)
    except OSError as error:
        raise InputError(f"cannot read {beside}: {error.strerror}; {_REMEDY}") from error
    if digest != found[_DIGEST]:
        raise InputError(
            f"{beside} is not what was written with {path.name} (SHA-256 {digest:.16}..., expected "
            f"{found[_DIGEST]!s:.16}...); {_REMEDY}"
        )
    return npz.load(beside, _REMEDY)[0]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _arrays(audit: Audit) -> dict[str, np.ndarray]:
    """Returns what a page needs of every record, [N] each, and the names of classes [K]."""
    records = audit.records
    return {
        "labels": records.labels,
        "classes": records.classes.astype(str),
        "member": records.member,
        "audited": audit.audited,
        # Ids may be objects, for which a file of arrays has no type.
        "ids": np.array([str(name) for name in records.ids.tolist()]),
        **({} if audit.p is None else {"p": audit.p}),
        **{_GROUP + name: values for name, values in records.groups.items()},
        **{_SCORE + name: scores.target for name, scores in audit.attacked.scores.items()},
    }


def _audit(found: dict[str, Any], arrays: dict[str, np.ndarray]) -> Audit:
    """Returns the audit of both files: all of it but data and what shadows scored."""
    groups, scores = (
        {name.removeprefix(kind): of for name, of in arrays.items() if name.startswith(kind)}
        for kind in (_GROUP, _SCORE)
    )
    labels, classes, member, ids = (arrays[name] for name in ("labels", "classes", "member", "ids"))
    return Audit(
        records=Records(None, labels, classes, member, ids, groups),
        attacked=Attacked(
            {name: Scores(of, None) for name, of in scores.items()},
            arrays["audited"],
            None,
            {row["attack"]: _number(row["strength_on_shadows"]) for row in found["attacks"]},
            found["strongest"],
            (),
        ),
        verdict=Verdict(LEVELS[found["level"]], tuple(found["reasons"])),
        rows=found["attacks"],
        called={
            float(fpr): risk.Called(
                one["threshold"],
                _interval(one["tpr"]),
                _interval(one["fpr"]),
                {float(prior): tuple(bounds) for prior, bounds in one["precision"].items()},
            )
            for fpr, one in found["thresholds"].items()
        },
        p=arrays.get("p"),
        cost=[
            CostPoint(one["num_shadows"], _interval(one["tpr"]), one["seconds"])
            for one in found["cost"]
        ],
        epsilon=found["epsilon"],
        num_shadows=found["num_shadows"],
        train_accuracy=found["train_accuracy"],
        test_accuracy=found["test_accuracy"],
        seconds=found["seconds"],
        about={name: found[name] for name in found["provenance"]},
        notes=tuple(found["notes"]),
        error=1 - found["confidence"],
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _interval(values: dict[str, Any]) -> Interval:
    """Returns the interval of its JSON values, which say nothing of its spread and method."""
    return Interval(**values, std=float("nan"), method="")


def _csv(rows: Sequence[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value
