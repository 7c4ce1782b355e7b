"""Rows of the paper's experiments: what they must hold, and the files that hold them.

A row is one attack on one target, flat but for `variant`, which names what the experiment varies,
and `versions`.  On disk it is one JSON object per line; `rows.jsonl.gz` is the same, compressed.
"""

import numbers
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from jleaks import json_lines
from jleaks.data.tasks import Source
from jleaks.errors import InputError
from jleaks.experiments.claims import ATTACKS, get_experiment

PaperRow = Mapping[str, Any]
"""One attack on one target of an experiment; see `REQUIRED` and `OPTIONAL`."""

METRICS: tuple[str, ...] = (
    "precision",
    "recall",
    "accuracy",
    "auc",
    "tpr_at_fpr_0.01",
    "fpr_realised_0.01",
    "tpr_at_fpr_0.001",
    "fpr_realised_0.001",
)
"""The attack's quality, fractions in [0, 1]; None where not defined."""

REQUIRED: tuple[str, ...] = (
    "experiment",
    "task",
    "shadow_task",
    "seed",
    "source",
    "attack",
    "variant",
    *METRICS,
    "num_members",
    "num_nonmembers",
    "num_classes",
    "model",
    "scale",
    "fingerprint",
    "device",
    "versions",
    "command",
)
"""The fields of every row."""

OPTIONAL: tuple[str, ...] = (
    # At a threshold chosen on the shadow's own rows instead of the attack model's 0.5.
    "precision_shadow_cut",
    "recall_shadow_cut",
    "accuracy_shadow_cut",
    # Mean cross-entropy (nats) of networks on their own members at their final weights.
    "train_loss",
    "shadow_train_loss",
    # Share of records that the models themselves classify rightly.
    "target_train_accuracy",
    "target_test_accuracy",
    "shadow_train_accuracy",
    "shadow_test_accuracy",
    # What the shadow models and the attack cost.
    "shadow_seconds",
    "shadow_flops",
    "shadow_wall_seconds",
    "attack_seconds",
)
"""Numbers that a row may lack, or hold as null."""

# Float32 metrics may come out a few units in the last place beyond their range.
_ROUNDING = 1e-5


def is_cost(field: str) -> bool:
    """Whether a field is a time, an amount of work or a loss; all other numbers are fractions in [0, 1]."""
    return field.endswith(("seconds", "flops", "loss"))


def _check_row(name: str, row: object, where: str) -> PaperRow:
    if not isinstance(row, Mapping):
        raise InputError(f"{where}: expected an object with the fields of a row, got {row!r:.60}")
    missing = [field for field in REQUIRED if field not in row]
    if missing:
        raise InputError(f"{where}: missing field(s) {', '.join(missing)}")
    if row["experiment"] != name:
        raise InputError(f"{where}: a row of {row['experiment']!r:.60}; expected {name}")
    sources = get_args(Source)
    for field, options in (
        ("attack", tuple(ATTACKS)),
        ("source", sources),
        ("shadow_source", sources),
    ):
        if row.get(field) not in options and not (field == "shadow_source" and not row.get(field)):
            raise InputError(
                f"{where}: {field} is {row[field]!r:.60}; allowed: {', '.join(options)}"
            )
    variant = row["variant"]
    if not isinstance(variant, Mapping) or not all(
        isinstance(value, str | numbers.Real | None) for value in variant.values()
    ):
        raise InputError(f"{where}: variant is {variant!r:.80}; expected an object of plain values")
    texts = ("task", "model", "scale", "fingerprint", "device", "command")
    if not all(isinstance(row[field], str) for field in texts):
        raise InputError(f"{where}: expected text in {', '.join(texts)}")
    if not isinstance(row["shadow_task"], str | None):
        raise InputError(
            f"{where}: shadow_task is {row['shadow_task']!r:.60}; expected text or null"
        )
    if not isinstance(row["versions"], Mapping):
        raise InputError(f"{where}: versions are {row['versions']!r:.60}; expected an object")
    for field in ("seed", "num_members", "num_nonmembers", "num_classes"):
        if not isinstance(row[field], numbers.Integral) or isinstance(row[field], bool):
            raise InputError(f"{where}: {field} is {row[field]!r:.60}; expected a whole number")
    if not isinstance(row.get("collapsed"), bool | None):
        raise InputError(
            f"{where}: collapsed is {row['collapsed']!r:.60}; expected true, false or null"
        )
    for field in (*METRICS, *OPTIONAL):
        value = row.get(field)
        if value is None:
            continue
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            raise InputError(f"{where}: {field} is {value!r:.60}; expected a number or null")
        # NaN, not defined, is neither below nor above.
        if not is_cost(field) and (float(value) < -_ROUNDING or float(value) > 1 + _ROUNDING):
            raise InputError(f"{where}: {field} is {value}; expected a fraction from 0 to 1")
    return row


def check_rows(name: str, rows: Sequence[object], where: str = "row ") -> list[PaperRow]:
    """Returns `rows` if they are rows of one experiment.

    Args:
      name: The experiment, for example "E6".
      rows: Mappings with the fields of `REQUIRED` and any of `OPTIONAL`.
      where: What stands before the number of a row in an error message.

    Raises:
      InputError: the experiment is unknown, or a row is not as it must be.
    """
    get_experiment(name)
    return [_check_row(name, row, f"{where}{i}") for i, row in enumerate(rows, start=1)]


def rows_file(folder: Path) -> Path | None:
    """Returns the file that holds an experiment's rows, `rows.jsonl` before `rows.jsonl.gz`."""
    for name in ("rows.jsonl", "rows.jsonl.gz"):
        if (folder / name).exists():
            return folder / name
    return None


def read_rows(name: str, path: str | os.PathLike[str]) -> list[PaperRow]:
    """Reads the rows of one experiment.

    Args:
      name: The experiment, for example "E6".
      path: A file of JSON lines, compressed if it ends in `.gz`; blank lines are passed over.

    Raises:
      InputError: the file cannot be read, holds no row, or a line is not a row of this experiment;
        the message names file and line.
    """
    rows = json_lines.read(path)
    if not rows:
        raise InputError(f"{path}: no result rows; expected one JSON object per line")
    return check_rows(name, rows, f"{path}, row ")
