"""Result rows: one schema for the main job, the paper's experiments, banks and audits, and their files.

A row is what a run leaves behind; every table and figure is computed from rows alone.  On disk it is one
JSON object per line.  A number that is not defined (the precision of an attack that names nobody as a
member, a threshold beyond all scores) is null there and None here; NaN and infinities are written as null,
since JSON has no word for them.  Rows are mappings; msgspec holds them to `Row` on their way out and in.
"""

import functools
import io
import json
import math
import os
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, cast, get_args

import msgspec

from jleaks import json_lines
from jleaks.errors import InputError
from jleaks.fields import Source
from jleaks.files import replace_file

if TYPE_CHECKING:
    import pandas as pd

Adversary = Literal[1, 2, 3]

ATTACK_MODEL = "attack model"
"""The `attack` of adversaries 1 and 2, who decide by a trained model."""

# Metrics are computed in float32: a perfect one may come out a few units in the last place off.
_ROUNDING = 1e-5

Fraction = Annotated[float, msgspec.Meta(ge=-_ROUNDING, le=1 + _ROUNDING)]


class Estimate(TypedDict, total=False):
    """A mean over targets: of a summary, or of the difference between two attacks.

    n targets define it; on so many of them the attack is ahead of, behind the one that is taken off.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    ahead: int
    behind: int


# Of a target a number, of a summary an object.
_Rate = Fraction | Estimate | None
_Value = str | float | bool | None

# The functional form, because a field's name holds the false-positive rate it belongs to.
Row = TypedDict(
    "Row",
    {
        # Which attack on which target.
        "experiment": str,  # of the paper, "E1" to "E18", or a user's
        "task": str,  # task of the target model
        "shadow_task": str | None,  # task of the shadow models: None where there are none; the target's own
        # for adversary 1; another for adversary 2
        "adversary": Adversary | None,  # of ML-Leaks; None for other attacks
        "attack": str,  # ATTACK_MODEL for adversaries 1 and 2; for adversary 3 "maximum", "standard
        # deviation" or "entropy"; "shokri", or another case attack; or one of `jleaks.attacks.registry`
        "minus": str,  # of a comparison: the attack whose values are taken off
        "variant": dict[str, _Value] | _Value,  # what an experiment varies; the form that a shadow chose
        "variants": dict[str, int] | None,  # how often each form was chosen
        "target": int | str,  # place in the bank, or name
        "shadow": str | None,
        "seed": int,  # identifies split, initial weights and order of batches
        "source": Source | Literal["scores"],  # where the records of the target's task come from
        "shadow_source": Source | None,
        # The attack's quality over members and non-members; each a fraction in [0, 1].
        "precision": _Rate,  # None if the attack names nobody
        "recall": _Rate,
        "accuracy": _Rate,  # of the decision member / non-member
        "balanced_accuracy": _Rate,
        "auc": _Rate,  # area under the ROC curve, ties counted half
        "tpr_at_fpr_0.01": _Rate,  # largest TPR with a realised FPR of at most 1%
        "fpr_realised_0.01": _Rate,  # the FPR at that step of the ROC curve
        "tp_at_fpr_0.01": int,
        "tpr_low_0.01": Fraction | None,  # cover the TPR with 95%, over records
        "tpr_high_0.01": Fraction | None,
        "tpr_at_fpr_0.001": _Rate,
        "fpr_realised_0.001": _Rate,
        "tp_at_fpr_0.001": int,
        "tpr_low_0.001": Fraction | None,
        "tpr_high_0.001": Fraction | None,
        "tpr_at_fpr_0.0001": _Rate,
        "fpr_realised_0.0001": _Rate,
        "tp_at_fpr_0.0001": int,
        "tpr_low_0.0001": Fraction | None,
        "tpr_high_0.0001": Fraction | None,
        # At the cut that balances the attack model's own rows best, not at its 0.5.
        "precision_shadow_cut": Fraction | None,
        "recall_shadow_cut": Fraction | None,
        "accuracy_shadow_cut": Fraction | None,  # balanced
        # Whether the attack model calls nobody or everybody of the rows it learned from a member at 0.5.
        "collapsed": bool | None,
        # Models that it rests on and whose training diverged: then there are no numbers.
        "diverged": list[str],
        # The models' own quality: share of records classified rightly, in [0, 1].
        "train_accuracy": Fraction | None,  # target, on its members
        "test_accuracy": Fraction | None,  # target, on its non-members
        "shadow_train_accuracy": Fraction | None,
        "shadow_test_accuracy": Fraction | None,
        # Mean cross-entropy (nats) on its own members at its final weights.
        "train_loss": float | None,
        "shadow_train_loss": float | None,
        # What the target's training guarantees, DP-SGD alone: an upper bound on epsilon at delta (None for
        # none), by noise multiplier, clipping norm and sampling rate.
        "epsilon": float | None,
        "noise": float,
        "clip": float,
        "rate": Fraction,
        # Lower bounds on epsilon.
        "delta": float,
        "confidence": Fraction,
        "epsilon_thresholds": float,
        "epsilon_thresholds_ceiling": float,
        "epsilon_one_run": float,
        "epsilon_one_run_ceiling": float,
        # What was attacked, and how.
        "num_members": float,  # of a summary the mean
        "num_nonmembers": float,
        "num_targets": int,
        "num_models": int,
        "num_references": int,
        "num_shadows": int | None,
        "attack_model": str | None,
        "top": int | str | None,
        "threshold": float | None,  # the score from which a record is named a member
        "num_records": int,  # records of the target's data set
        "num_classes": int,
        "epochs": int,  # passes of the target over its training part
        "model": str,  # the target's architecture
        "recipe": dict[str, Any] | None,
        "defence": str,  # the plan's, of the targets, "name:strength"
        "attacker": str,  # whether shadows have it, too: "aware" or "naive"
        "plugins": dict[str, str],  # what users' files define of the row, and their digests
        "needs": str,  # references of a bank's attack
        "labels": bool,
        "queries": str,
        # About each record, of banks whose models were asked for the distance to the boundary.
        "boundary_queries": int,
        "intervals": str,
        "notes": list[str],
        # What it cost.
        "shadow_seconds": float | None,
        "shadow_wall_seconds": float | None,
        "shadow_flops": float | None,
        "attack_seconds": float | None,
        "device_seconds": float | None,
        "flops": float | None,
        "training_seconds": float | None,
        "evaluation_seconds": float | None,
        # Where the figures were made.
        "cell": dict[str, str],  # of a grid: the values of the flags that its cells differ in
        "scale": str,
        "fingerprint": str | None,  # of the plan
        "format": int,
        "device": str,
        "kernels": str,
        "command": str,
        "versions": dict[str, str],  # package -> version
        "seconds": dict[str, float],  # stage -> wall-clock seconds
    },
    total=False,
)  # fmt: skip
"""One attack on one target model, or over targets; the comments beside the fields say what each holds.

Rows may have further fields, which are kept.
"""

_METRICS = (
    *("precision", "recall", "accuracy", "auc", "tpr_at_fpr_0.01", "fpr_realised_0.01"),
    *("tpr_at_fpr_0.001", "fpr_realised_0.001"),
)
_SHARED = (
    *("task", "shadow_task", "seed", "source", *_METRICS, "num_members", "num_nonmembers"),
    *("num_classes", "model", "fingerprint", "device", "versions"),
)

OF_RUN: tuple[str, ...] = (
    *(*_SHARED, "adversary", "attack", "train_accuracy", "test_accuracy"),
    *(
        "shadow_train_accuracy",
        "shadow_test_accuracy",
        "threshold",
        "num_records",
        "epochs",
        "seconds",
    ),
)
"""What every row of the main job has."""

OF_EXPERIMENT: tuple[str, ...] = (
    *(*_SHARED, "experiment", "adversary", "attack", "variant", "scale", "command"),
)
"""What every row of one of the paper's experiments has."""

OF_SUMMARY: tuple[str, ...] = (
    *("task", "source", "attack", "num_models", "num_references", "num_targets", "num_members"),
    *("num_nonmembers", "needs", "labels", "queries", "balanced_accuracy", *_METRICS[:2], "auc"),
    *("tpr_at_fpr_0.01", "tpr_at_fpr_0.001", "tpr_at_fpr_0.0001"),
)
"""What a bank's summary of every attack has."""

GUARANTEE = ("epsilon", "delta", "noise", "clip", "rate")
"""What a row of a target that was trained by DP-SGD has beside the others."""

_FIELDS: dict[str, Any] = typing.get_type_hints(Row, include_extras=True)
# Fields of earlier versions: the attack of the main job, a target's accuracy, a comparison's attacks.
_EARLIER = frozenset({"statistic", "target_train_accuracy", "first"})
_WORDS = {
    "str": "text",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "null": "null",
    "object": "an object",
    "array": "a list",
}


def _plain(value: object) -> object:
    """Returns `value` as JSON can hold it: NumPy and JAX scalars as numbers, NaN as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@functools.cache
def _options(name: str) -> tuple[object, ...]:
    """Returns the values that a field of a few choices may hold."""
    return tuple(
        option
        for part in (_FIELDS[name], *get_args(_FIELDS[name]))
        if typing.get_origin(part) is Literal
        for option in get_args(part)
    )


def _refusal(row: Mapping[str, object], error: msgspec.ValidationError) -> str:
    """Returns which field of a row does not fit, what it holds, and what is expected."""
    text, _, path = str(error).rstrip("`").partition(" - at `$.")
    # Names of fields have points; the longest that fits is meant.
    name = max((name for name in _FIELDS if path.startswith(name)), key=len)
    expected = text.removeprefix("Expected ").partition(", got ")[0].replace("`", "")
    if options := _options(name):
        expected = " or ".join(map(json.dumps, options))
    elif "=" in expected:
        expected = "a fraction from 0 to 1"
    else:
        expected = " or ".join(_WORDS.get(word, word) for word in expected.split(" | "))
    found = json.dumps(row[name], default=repr)
    where = "" if path == name else " in it"
    return f"field {name!r} is {found:.60}; expected {expected}{where}"


def check_row(record: object, where: str, need: Iterable[str] = OF_RUN) -> Row:
    """Returns `record` as a row of plain values, known fields first.

    Args:
      record: What should be a row: a mapping from field names to values.
      where: Place named in an error message, for example "rows.jsonl:7".
      need: The fields that it must have.

    Raises:
      InputError: it is no mapping, lacks a field, or a field holds what it must not.
    """
    if not isinstance(record, Mapping):
        raise InputError(
            f"{where}: expected an object with the fields of a row, got {record!r:.60}"
        )
    if missing := [name for name in need if name not in record]:
        text = f"{where}: missing field(s) {', '.join(missing)}"
        if _EARLIER & record.keys():
            text += "; an earlier version wrote it: delete the file to make it again"
        raise InputError(text)
    row = {name: _plain(record[name]) for name in _FIELDS if name in record}
    row.update({name: _plain(value) for name, value in record.items() if name not in row})
    try:
        msgspec.convert(row, Row)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: {_refusal(row, error)}") from error
    return cast("Row", row)


def check_rows(
    rows: Iterable[object], need: Iterable[str] = OF_RUN, may_be_empty: bool = False
) -> list[Row]:
    """Returns rows that were made in memory (see `check_row`).

    Raises:
      InputError: one is not as it must be, or there are none and there must be some.
    """
    checked = [check_row(row, f"row {i}", need) for i, row in enumerate(rows, start=1)]
    if not checked and not may_be_empty:
        raise InputError("no result rows; expected at least one")
    return checked


def write_rows(
    path: str | os.PathLike[str],
    rows: Iterable[object],
    need: Iterable[str] = OF_RUN,
    may_be_empty: bool = False,
) -> Path:
    """Writes `rows` as JSON lines (UTF-8), whole or not at all.

    Args:
      path: The file to write; missing folders are created.
      rows: NumPy scalars are accepted, NaN becomes null.
      need: The fields that every row must have.
      may_be_empty: Whether there may be no rows.

    Returns:
      `path`.

    Raises:
      InputError: there are no rows, one is not as `Row` says, or the file cannot be written.
    """
    return json_lines.write(path, check_rows(rows, need, may_be_empty))


def read_rows(
    path: str | os.PathLike[str], need: Iterable[str] = OF_RUN, may_be_empty: bool = False
) -> list[Row]:
    """Reads what `write_rows` wrote, or several such files put one after another.

    Args:
      path: A file of JSON lines, compressed if it ends in `.gz`; blank lines are passed over.
      need: The fields that every row must have.
      may_be_empty: Whether there may be no rows.

    Returns:
      Its rows, in order.

    Raises:
      InputError: the file cannot be read, holds no row, or a line is not a row; the message
        names file and line.
    """
    rows = [check_row(row, f"{path}:{number}", need) for number, row in json_lines.numbered(path)]
    if not rows and not may_be_empty:
        raise InputError(f"{path}: no result rows; expected one JSON object per line")
    return rows


def table(rows: Iterable[object], need: Iterable[str] = OF_RUN) -> "pd.DataFrame":
    """Returns rows as a table for spreadsheets.

    An object's entries become columns of their own, named "field.entry" ("seconds.attack"), where the field
    stands; lists are JSON in one cell.

    Raises:
      InputError: there are no rows, or one is not as `Row` says.
    """
    import pandas as pd

    flat: list[dict[str, object]] = []
    columns: dict[str, dict[str, None]] = {}  # field -> its columns, both in order of appearance
    for row in check_rows(rows, need):
        cells: dict[str, object] = {}
        for field, value in row.items():
            entries: dict[str, object] = {field: value}
            if isinstance(value, dict):
                entries = {f"{field}.{entry}": item for entry, item in value.items()}
            columns.setdefault(field, {}).update(dict.fromkeys(entries))
            cells |= {
                name: json.dumps(item) if isinstance(item, (dict, list)) else item
                for name, item in entries.items()
            }
        flat.append(cells)
    names = [name for group in columns.values() for name in group]
    return pd.DataFrame(flat, columns=names, dtype=object)


def write_csv(
    path: str | os.PathLike[str], rows: Sequence[object], need: Iterable[str] = OF_RUN
) -> Path:
    """Writes `table` as CSV, whole or not at all; an undefined number is an empty cell.

    Raises:
      InputError: as for `table`, or the file cannot be written.
    """
    return replace_file(path, table(rows, need).to_csv(index=False, lineterminator="\n").encode())


def write_parquet(
    path: str | os.PathLike[str], rows: Sequence[object], need: Iterable[str] = OF_RUN
) -> Path:
    """Writes `table` as parquet, whole or not at all; an undefined number is null.

    Raises:
      InputError: as for `table`, pyarrow is not installed, or the file cannot be written.
    """
    found, content = table(rows, need).convert_dtypes(), io.BytesIO()
    # A column whose rows hold texts and numbers is one of texts.
    mixed = [name for name in found if found[name].dtype == object]
    found[mixed] = found[mixed].map(lambda value: value if value is None else str(value))
    try:
        found.to_parquet(content, index=False)
    except ImportError as error:
        raise InputError(
            f"cannot write {path}: parquet needs pyarrow (pip install pyarrow)"
        ) from error
    return replace_file(path, content.getvalue())
