"""Auditing a model of one's own, with its report as tables and as a page."""

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import pandas as pd

from jleaks.auditing.audit import audit as _audit
from jleaks.auditing.result import Audit
from jleaks.auditing.verdict import Verdict
from jleaks.report import audit_files, audit_page


@dataclasses.dataclass(frozen=True, eq=False)
class AuditReport:
    """What an audit found, as tables, and as a page.

    Attributes:
      audit: All of it.
    """

    audit: Audit

    @property
    def verdict(self) -> Verdict:
        """The level of risk, and why."""
        return self.audit.verdict

    @property
    def lead(self) -> str:
        """The audit in one sentence."""
        return audit_page.lead(self.audit)

    @property
    def attacks(self) -> pd.DataFrame:
        """One row per attack: its metrics on the audited model, with 95% intervals over records."""
        return pd.json_normalize(self.audit.rows, sep="_")

    @property
    def records(self) -> pd.DataFrame:
        """One row per record, the likeliest members first: id, label, member, score, p, whether at risk."""
        return pd.DataFrame(self.audit.record_rows())

    def save(
        self, folder: str | os.PathLike[str], *, title: str = "", command: str = ""
    ) -> list[Path]:
        """Writes report.html, audit.json, records.npz, .csv and .parquet; returns the files.

        Args:
          folder: Where; created if it is not there.
          title: Name of the audited model.
          command: What made the audit, for the report's end.
        """
        return audit_files.save(self.audit, folder, title=title, command=command)

    def _repr_html_(self) -> str:
        """The first screen, in a notebook."""
        reasons = "; ".join(self.verdict.reasons)
        return f"<p>{self.lead}</p><p><b>Leak: {self.verdict.level}</b>. {reasons}.</p>"


P = ParamSpec("P")


def _reported(fn: Callable[P, Audit]) -> Callable[P, AuditReport]:
    @functools.wraps(fn)
    def audited(*args: P.args, **kwargs: P.kwargs) -> AuditReport:
        return AuditReport(fn(*args, **kwargs))

    return audited


audit = _reported(_audit)
