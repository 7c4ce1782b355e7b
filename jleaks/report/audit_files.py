"""What an audit leaves behind: its page, everything as JSON, the records as tables."""

import csv
import dataclasses
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jleaks.auditing.result import Audit
from jleaks.auditing.verdict import RULE, Level
from jleaks.files import replace_file
from jleaks.metrics.intervals import Interval
from jleaks.report.audit_page import lead, page, untested


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
