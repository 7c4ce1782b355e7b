"""Results: what tables, figures and findings of one experiment are made from."""

import dataclasses
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jleaks.errors import InputError
from jleaks.report.paper.groups import Group, group_rows
from jleaks.report.paper.rows import PaperRow, check_rows, task_sources
from jleaks.report.titles import Sources


@dataclasses.dataclass(frozen=True)
class Results:
    """One experiment's results.

    Attributes:
      name: The experiment, for example "E6".
      rows: Its rows.
      groups: The same, grouped over seeds, in the order of reports.
      sources: Where the records of each task come from.
      folder: Where its arrays lie and its report goes.
    """

    name: str
    rows: Sequence[PaperRow]
    groups: Sequence[Group]
    sources: Sources
    folder: Path

    @property
    def tasks(self) -> list[str]:
        """Every target and shadow task, in the order of reports."""
        return list(dict.fromkeys(t for g in self.groups for t in (g.task, *g.shadow_tasks)))

    def arrays(self, file: str) -> dict[str, np.ndarray]:
        """Returns the arrays of an npz file in `folder`.

        Raises:
          InputError: it cannot be read.
        """
        path = self.folder / file
        try:
            # NumPy would leave a file open that is no archive.
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as found:
                return dict(found)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{self.name}: cannot read {path}: {error}") from error


def collect(name: str, rows: Sequence[object], folder: Path) -> Results:
    """Returns the results of one experiment.

    Args:
      name: The experiment, for example "E6".
      rows: Its rows (see `check_rows`), at least one but for E11.
      folder: Where its arrays lie and its report goes.

    Raises:
      InputError: the experiment is unknown, there are no rows, or they are not as they must be.
    """
    checked = check_rows(name, rows)
    # E11 may show points alone.
    if not checked and name != "E11":
        raise InputError(f"no result rows of {name}; expected at least one")
    return Results(name, checked, group_rows(checked), task_sources(checked), folder)
