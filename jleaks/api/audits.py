"""Auditing a model of one's own, with its report as tables and as a page."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from jleaks.auditing.audit import Audit
from jleaks.auditing.audit import audit as _audit
from jleaks.auditing.verdict import Verdict
from jleaks.metrics.epsilon import DELTA
from jleaks.report import audit_page
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe


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
        """Writes report.html, audit.json, records.csv and records.parquet; returns the files.

        Args:
          folder: Where; created if it is not there.
          title: Name of the audited model.
          command: What made the audit, for the report's end.
        """
        return audit_page.save(self.audit, folder, title=title, command=command)

    def _repr_html_(self) -> str:
        """The first screen, in a notebook."""
        reasons = "; ".join(self.verdict.reasons)
        return f"<p>{self.lead}</p><p><b>Leak: {self.verdict.level}</b>. {reasons}.</p>"


def audit(
    data: Any = None,
    labels: Any = None,
    member: Any = None,
    *,
    fit: Callable[..., Any] | None = None,
    predict: Callable[[Any, Any], Any] | None = None,
    network: Any = None,
    recipe: Recipe | None = None,
    target: Any = None,
    answers: Any = None,
    shadow_answers: Sequence[tuple[Any, Any]] = (),
    num_shadows: int = 64,
    ids: Any = None,
    groups: Mapping[str, Any] | None = None,
    attacks: Sequence[str] = ("all",),
    seed: int = 0,
    delta: float = DELTA,
    num_processes: int | None = None,
    workdir: str | os.PathLike[str] | None = None,
    execution: Execution | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> AuditReport:
    """Audits a model of one's own (see `jleaks.auditing.audit.audit`, whose arguments these are)."""
    found = _audit(
        data,
        labels,
        member,
        fit=fit,
        predict=predict,
        network=network,
        recipe=recipe,
        target=target,
        answers=answers,
        shadow_answers=shadow_answers,
        num_shadows=num_shadows,
        ids=ids,
        groups=groups,
        attacks=attacks,
        seed=seed,
        delta=delta,
        num_processes=num_processes,
        workdir=workdir,
        execution=execution,
        tell=tell,
    )
    return AuditReport(found)
