"""A former audit of the same records, for regressions that are told record by record."""

import csv
import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jleaks.auditing.paired import auc_difference, share_difference
from jleaks.auditing.records import MIN_SIDE
from jleaks.errors import InputError
from jleaks.metrics.intervals import Interval

_NEEDED = ("id", "label", "member", "score")


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """The records of two audits that are members, or non-members, in both.

    Attributes:
      now: [N] scores of an audit's strongest attack.
      former: [N] of the former audit's.
      member: [N] which are members.
      num_moved: Records of both that are members in one of them alone; left out.
    """

    now: Float[np.ndarray, "records"]
    former: Float[np.ndarray, "records"]
    member: Bool[np.ndarray, "records"]
    num_moved: int

    def difference(self, name: str, now: dict[str, Any], former: dict[str, Any]) -> Interval | None:
        """Returns what a number is above the former audit's, with its 95% interval over records.

        Args:
          name: "auc", or "tpr_at_fpr_..." at thresholds that were set on shadows.
          now: The audit.
          former: The former one.

        Returns:
          None where records do not tell: a TPR whose threshold was chosen on these very records.
        """
        if name == "auc":
            return auc_difference(self.now, self.former, self.member)
        fpr = name.removeprefix("tpr_at_fpr_")
        thresholds = [one.get("thresholds", {}).get(fpr) for one in (now, former)]
        if not all(thresholds):
            return None
        ours, theirs = (one["threshold"] for one in thresholds)
        at = self.member
        return share_difference(self.now[at] > ours, self.former[at] > theirs)

    def describe(self) -> str:
        """Says what was compared."""
        moved = f", {self.num_moved:,} with another membership left out" if self.num_moved else ""
        return f"paired by record over {len(self.member):,}{moved}"


def pair(now: str | os.PathLike[str], former: str | os.PathLike[str]) -> Pairs | None:
    """Pairs the records of two audits, as `jleaks audit` left them.

    Args:
      now: The audit's folder, or its audit.json.
      former: The former audit's.

    Returns:
      None where one has no records.csv beside its audit.json.

    Raises:
      InputError: a file cannot be read, or the audits are not of the same records.
    """
    paths = [_table_of(Path(one)) for one in (now, former)]
    if not all(path.is_file() for path in paths):
        return None
    ours, theirs = (_read(path) for path in paths)
    common = [name for name in ours if name in theirs]
    for name in common:
        if ours[name]["label"] != theirs[name]["label"]:
            raise InputError(
                f"record {name} has label {ours[name]['label']} in {paths[0]}, {theirs[name]['label']} in "
                f"{paths[1]}: a regression is told by the same records; give them lasting ids (--id)"
            )
    kept = [name for name in common if ours[name]["member"] == theirs[name]["member"]]
    member = np.array([ours[name]["member"] == "True" for name in kept], bool)
    if min(member.sum(), (~member).sum()) < MIN_SIDE:
        raise InputError(
            f"{paths[0]} and {paths[1]} have {int(member.sum())} members and {int((~member).sum())} "
            f"non-members in common, expected at least {MIN_SIDE} of each: audit the same records, with "
            "the same ids"
        )
    return Pairs(
        _scores(ours, kept, paths[0]),
        _scores(theirs, kept, paths[1]),
        member,
        len(common) - len(kept),
    )


def _table_of(path: Path) -> Path:
    return (path if path.is_dir() else path.parent) / "records.csv"


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {error}; make it again with jleaks audit") from error
    if not rows or any(rows[0].get(name) is None for name in _NEEDED):
        raise InputError(f"{path} has no {', '.join(_NEEDED)}; make it again with jleaks audit")
    return {row["id"]: row for row in rows}


def _scores(rows: dict[str, dict[str, str]], kept: list[str], path: Path) -> np.ndarray:
    try:
        found = np.array([float(rows[name]["score"]) for name in kept])
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: a score is no number ({error}); make it again") from error
    if not np.isfinite(found).all():
        raise InputError(f"{path}: a score is not finite; make it again with jleaks audit")
    return found
