"""Result rows: one flat record per attack on one target, and the files that hold them.

A row is what a run leaves behind; every table and figure is computed from rows alone.  On disk it
is one JSON object per line.  A number that is not defined (the precision of an attack that names
nobody as a member, a threshold beyond all scores) is null there and None here; NaN and infinities
are written as null, since JSON has no word for them.
"""

import csv
import io
import json
import math
import os
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import (
    Any,
    Literal,
    NotRequired,
    TypedDict,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from jleaks import json_lines
from jleaks.errors import InputError
from jleaks.fields import Source
from jleaks.files import replace_file

Adversary = Literal[1, 2, 3]

ATTACK_MODEL = "attack model"
"""The `statistic` of adversaries 1 and 2, who decide by a trained model."""

# The functional form, because a field's name holds the false-positive rate it belongs to.
Row = TypedDict(
    "Row",
    {
        # Which attack on which target.
        "task": str,  # task of the target model
        "shadow_task": str | None,  # task of the shadow model: None for adversary 3, which has
        # none; the target's own for adversary 1; another for adversary 2
        "adversary": Adversary,
        "statistic": str,  # ATTACK_MODEL for adversaries 1 and 2; for adversary 3 "maximum",
        # "standard deviation" or "entropy"
        "seed": int,  # identifies split, initial weights and order of batches
        "source": Source,  # where the records of the target's task come from
        # The attack's quality over members and non-members; each a fraction in [0, 1].
        "precision": float | None,  # None if the attack names nobody
        "recall": float | None,
        "accuracy": float | None,  # of the decision member / non-member
        "auc": float | None,  # area under the ROC curve, ties counted half
        "tpr_at_fpr_0.01": float | None,  # largest TPR with a realised FPR of at most 1%
        "fpr_realised_0.01": float | None,  # the FPR at that step of the ROC curve
        "tpr_at_fpr_0.001": float | None,
        "fpr_realised_0.001": float | None,
        # At the cut that balances the attack model's own rows best, not at its 0.5; None for adversary 3.
        "precision_shadow_cut": NotRequired[float | None],
        "recall_shadow_cut": NotRequired[float | None],
        "accuracy_shadow_cut": NotRequired[float | None],  # balanced
        # Whether the attack model calls nobody or everybody of the rows it learned from a member at 0.5;
        # None for adversary 3.
        "collapsed": NotRequired[bool | None],
        # The models' own quality: share of records classified rightly, in [0, 1].
        "train_accuracy": float | None,  # target, on its members
        "test_accuracy": float | None,  # target, on its non-members
        "shadow_train_accuracy": float | None,  # None for adversary 3
        "shadow_test_accuracy": float | None,
        # Mean cross-entropy (nats) on its own members at its final weights.
        "train_loss": NotRequired[float | None],
        "shadow_train_loss": NotRequired[float | None],
        # What was attacked, and how.
        "num_members": int,
        "num_nonmembers": int,
        "threshold": float | None,  # the score from which a record is named a member
        "num_records": int,  # records of the target's data set
        "num_classes": int,
        "epochs": int,  # passes of the target over its training part
        "model": str,  # the target's architecture
        # Where the figures were made.
        "fingerprint": str,  # of the plan
        "device": str,
        "versions": dict[str, str],  # package -> version
        "seconds": dict[str, float],  # stage -> wall-clock seconds
    },
)
"""One attack on one target model; the comments beside the fields say what each holds.

Rows of earlier versions lack the fields that are not required.
"""

FIELDS: tuple[str, ...] = tuple(n for n in Row.__annotations__ if n in Row.__required_keys__)
"""Every field a row must have, in the order in which they are written."""

RATES: tuple[str, ...] = (
    "precision",
    "recall",
    "accuracy",
    "auc",
    "tpr_at_fpr_0.01",
    "fpr_realised_0.01",
    "tpr_at_fpr_0.001",
    "fpr_realised_0.001",
    "train_accuracy",
    "test_accuracy",
    "shadow_train_accuracy",
    "shadow_test_accuracy",
    "precision_shadow_cut",
    "recall_shadow_cut",
    "accuracy_shadow_cut",
)
"""The fields that are fractions in [0, 1] (or None)."""

# Metrics are computed in float32: a perfect one may come out a few units in the last place off.
_ROUNDING = 1e-5

_TYPES: dict[str, Any] = get_type_hints(Row)


def _plain(value: object) -> object:
    """Returns `value` as JSON can hold it: NumPy and JAX scalars as numbers, NaN as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _fits(value: object, expected: Any) -> bool:
    """Whether a plain `value` is of the type `expected` that `Row` names for it."""
    origin, options = get_origin(expected), get_args(expected)
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in options)
    if origin is Literal:
        return any(type(value) is type(option) and value == option for option in options)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(v, options[1]) for v in value.values())
    if expected is bool:
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False  # to Python a number, to a reader of results never one
    if expected is float:
        return isinstance(value, (int, float))
    return isinstance(value, expected)


def _type_name(expected: Any) -> str:
    origin, options = get_origin(expected), get_args(expected)
    if origin in (Union, types.UnionType):
        return " or ".join(_type_name(option) for option in options)
    if origin is Literal:
        return " or ".join(json.dumps(option) for option in options)
    if origin is dict:
        return f"an object of {_type_name(options[1])}"
    return {
        str: "text",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        type(None): "null",
    }[expected]


def check_row(record: object, where: str) -> Row:
    """Returns `record` as a row of plain values, known fields first.

    Fields that `Row` does not name are kept.

    Args:
      record: What should be a row: a mapping from field names to values.
      where: Place named in an error message, for example "rows.jsonl:7".

    Raises:
      InputError: it is no mapping, lacks a field, or a field holds what it must not.
    """
    if not isinstance(record, Mapping):
        raise InputError(
            f"{where}: expected an object with the fields of a row, got {record!r:.60}"
        )
    missing = [name for name in FIELDS if name not in record]
    if missing:
        raise InputError(f"{where}: missing field(s) {', '.join(missing)}")
    row = {name: _plain(record[name]) for name in _TYPES if name in record}
    row.update({name: _plain(value) for name, value in record.items() if name not in row})
    for name, expected in _TYPES.items():
        if name in row and not _fits(row[name], expected):
            raise InputError(
                f"{where}: field {name!r} is {json.dumps(row[name], default=repr):.60}; "
                f"expected {_type_name(expected)}"
            )
    for name in RATES:
        rate = cast("float | None", row.get(name))
        if rate is not None and not -_ROUNDING <= rate <= 1 + _ROUNDING:
            raise InputError(f"{where}: field {name!r} is {rate}; expected a fraction from 0 to 1")
    return cast("Row", row)


def _check_rows(rows: Iterable[object]) -> list[Row]:
    checked = [check_row(row, f"row {i}") for i, row in enumerate(rows, start=1)]
    if not checked:
        raise InputError("no result rows to write; expected at least one")
    return checked


def write_rows(path: str | os.PathLike[str], rows: Sequence[Row]) -> Path:
    """Writes `rows` as JSON lines (UTF-8), whole or not at all.

    Args:
      path: The file to write; missing folders are created.
      rows: At least one row; NumPy scalars are accepted, NaN becomes null.

    Returns:
      `path`.

    Raises:
      InputError: there are no rows, one is not as `Row` says, or the file cannot be written.
    """
    return json_lines.write(path, _check_rows(rows))


def read_rows(path: str | os.PathLike[str]) -> list[Row]:
    """Reads what `write_rows` wrote, or several such files put one after another.

    Args:
      path: A file of JSON lines; blank lines are passed over.

    Returns:
      Its rows, in order.

    Raises:
      InputError: the file cannot be read, holds no row, or a line is not a row; the message
        names file and line.
    """
    rows = [check_row(row, f"{path}:{number}") for number, row in json_lines.numbered(path)]
    if not rows:
        raise InputError(f"{path}: no result rows; expected one JSON object per line")
    return rows


def write_csv(path: str | os.PathLike[str], rows: Sequence[Row]) -> Path:
    """Writes `rows` as a table for spreadsheets, whole or not at all.

    An object's entries become columns of their own, named "field.entry" ("seconds.attack"); lists
    stay JSON in one cell; an undefined number is an empty cell.

    Args:
      path: The file to write; missing folders are created.
      rows: At least one row.

    Returns:
      `path`.

    Raises:
      InputError: there are no rows, one is not as `Row` says, or the file cannot be written.
    """
    flat: list[dict[str, object]] = []
    columns: dict[str, dict[str, None]] = {}  # field -> its columns, both in order of appearance
    for row in _check_rows(rows):
        cells: dict[str, object] = {}
        for field, value in row.items():
            entries = (
                {f"{field}.{entry}": item for entry, item in value.items()}
                if isinstance(value, dict)
                else {field: value}
            )
            columns.setdefault(field, {}).update(dict.fromkeys(entries))
            cells.update(
                (name, json.dumps(item) if isinstance(item, (dict, list)) else item)
                for name, item in entries.items()
            )
        flat.append(cells)
    text = io.StringIO(newline="")
    names = [name for group in columns.values() for name in group]
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return replace_file(path, text.getvalue().encode())
