"""Score files: the answers of models that were trained anywhere, for the same evaluator.

npz, with arrays of these names (M models, N records, K classes, Q queries per record):

    logits      [M, N, K] or [Q, M, N, K]   from which everything else is computed; or, instead,
    posteriors  of the same shape           likewise, less precisely where they were rounded; or
    phi         [M, N] or [Q, M, N]         logit-scaled confidence log p_y - log(1 - p_y)
    member      [M, N]                      whether model m trained on record n (bool, 0 and 1, or as text)
    labels      [N]                         true classes 0..K-1 (whole numbers of any type, or text: names)
    population  [N]                         optional: records held out from all models, not audited
    correct, phi_t, mentr, maximum, entropy, quantile, loss_iqr, boundary
                                            optional: as in `jleaks.attacks.bank.Bank`

Compute phi from logits: from posteriors that were rounded to 1 it is lost.

A binary model's one output, [M, N, 1], is the logit or the posterior of class 1.  Posteriors are read as
`jleaks.attacks.probabilities` says: rounded, percent, with zeros.  Logits may be -inf, for classes that a
model never saw; NaN and +inf are refused.  Where the true class or all others have a probability of zero,
phi, phi_t and mentr are infinite: they are kept log 2 beyond the file's finite ones, and a line says of
which records.

Where there are neither logits nor posteriors, nothing says how many classes there are: labels are below
`jleaks.data.truth.MOST_CLASSES`.

parquet, one row per model, record and query, with columns `model`, `record`, `label`, `member`, and `phi`
or lists `logits` or `posteriors`; optionally `query`, `population`; every model answers every record.

An npz whose `meta` says what `Bank.save` writes is a bank's; any other `meta` is not looked at.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jleaks.attacks import bank as bank_lib
from jleaks.attacks import score_answers as answers_lib
from jleaks.attacks.bank import Bank
from jleaks.data import tables
from jleaks.data.truth import read_flags, read_labels, record_at
from jleaks.errors import InputError
from jleaks.fields import FACTOR

_OPTIONAL = ("correct", "phi_t", "mentr", "maximum", "entropy", "quantile", "loss_iqr", "boundary")
_ANSWERS = ("logits", "posteriors", "phi")
_ARRAYS = (*_ANSWERS, "member", "labels", "population", *_OPTIONAL)
_COLUMNS = ("model", "record", "query", "label", "member", "population", *_ANSWERS)
# What Bank.save writes into meta, and of which types.
_META = {"num_classes": int, "twins": bool}
_META_OPTIONAL = {"task": str, "source": str, "plan": dict, "seconds": dict, "fingerprint": str}


def read(path: str | os.PathLike[str], temperature: float = 2.0, on_disk: bool = False) -> Bank:
    """Reads a bank's file or a score file.

    Args:
      path: npz or parquet.
      temperature: RMIA's, where the file has logits or posteriors.
      on_disk: Whether the arrays of a bank's file stay on the disk (see `jleaks.attacks.bank.load`).

    Returns:
      The bank; `meta["notes"]` of a score file lists what a reader must be told of how it was read.

    Raises:
      InputError: the file is missing, damaged, lacks an array, or an array cannot be used.
    """
    path = Path(path)
    if not FACTOR.holds(temperature):
        raise InputError(f"temperature is {temperature}, expected {FACTOR.text}")
    if not path.exists():
        raise InputError(f"{path} does not exist")
    notes = []
    if path.suffix == ".parquet":
        arrays, unused = _read_parquet(path)
    elif path.suffix == ".npz":
        if _is_bank(path):
            return bank_lib.load(path, on_disk)
        arrays, unused = tables.read_npz(path, _ARRAYS)
    else:
        raise InputError(f"{path} is neither .npz nor .parquet")
    if unused:
        notes.append(f"{path}: not used: {', '.join(unused)}")
    return _bank(path, arrays, unused, temperature, notes)


def _is_bank(path: Path) -> bool:
    """Whether a file's meta is what `Bank.save` writes."""
    text = tables.read_text(path, "meta")
    try:
        meta = json.loads(text or "")
    except (ValueError, RecursionError):
        return False
    if not isinstance(meta, dict) or not meta.keys() >= _META.keys():
        return False
    for name, kind in {**_META, **_META_OPTIONAL}.items():
        if name in meta and type(meta[name]) is not kind:
            raise InputError(
                f"{path}: {name} in meta is {json.dumps(meta[name])[:60]}, expected {kind.__name__}"
            )
    return True


def _bank(
    path: Path,
    arrays: dict[str, np.ndarray],
    unused: list[str],
    temperature: float,
    notes: list[str],
) -> Bank:
    lacking = [name for name in ("member", "labels") if name not in arrays]
    given = [name for name in _ANSWERS if name in arrays]
    if not given:
        lacking.append("phi or logits")
    if lacking:
        held = ", ".join([*arrays, *unused]) or "nothing"
        raise InputError(f"{path} has no {', no '.join(lacking)} (it has {held})")
    where = str(path)
    whole = next((name for name in _ANSWERS[:2] if name in arrays), None)
    answers, num_classes = None, None
    if whole is not None:
        answers = answers_lib.check(path, whole, arrays[whole], np.shape(arrays["labels"]))
        num_classes = max(answers.shape[-1], 2)
    labels = read_labels(arrays["labels"], where, num_classes)
    notes += labels.lines(where)
    if not len(labels.values):
        raise InputError(f"{path}: there are no records")
    fields: dict[str, Any] = {
        name: _numbers(path, name, arrays[name]) for name in _OPTIONAL[1:] if name in arrays
    }
    if "correct" in arrays:
        fields["correct"] = read_flags(arrays["correct"], where, "correct")
    if "phi" in arrays:
        fields["phi"] = _numbers(path, "phi", arrays["phi"])
    if answers is not None:
        computed = answers_lib.signals_of(
            *(path, str(whole), answers, labels.values, temperature, notes)
        )
        over = [name for name in computed if name in fields]
        if over:
            notes.append(
                f"{path}: {', '.join(over)} as the file has them, not computed from {whole}"
            )
        if given[0] != given[-1] and "posteriors" in given[1:]:
            notes.append(f"{path}: not used: posteriors, as there are logits")
        fields = {**computed, **fields}
    for name in ("phi", "correct"):
        if name in fields and fields[name].ndim == 2:
            fields[name] = fields[name][None]
    population = arrays.get("population", np.zeros(labels.values.shape, bool))
    population = read_flags(population, where, "population")
    member = read_flags(arrays["member"], where)
    try:
        return Bank(
            member=member,
            labels=labels.values,
            num_classes=num_classes or max(int(labels.values.max()) + 1, 2),
            population=population,
            twins=_are_twins(member, population),
            meta={"task": path.stem, "source": "scores", "notes": notes},
            **fields,
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _numbers(path: Path, name: str, array: np.ndarray) -> Float[np.ndarray, "..."]:
    """Returns an array of scores as float32; all of it must be finite."""
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path}: {name} is {array.dtype}, expected numbers")
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    bad = np.argwhere(~np.isfinite(narrow))
    if len(bad):
        at = tuple(bad[0].tolist())
        hint = (
            "; give logits or posteriors, of which zeros and ones can be told apart"
            if name == "phi"
            else ""
        )
        raise InputError(
            f"{path}: {name} has {len(bad)} values that are not finite, the first {array[at]} of "
            f"{record_at(at)}{hint}"
        )
    return narrow


def _are_twins(member: np.ndarray, population: np.ndarray) -> bool:
    """Whether models 2i and 2i + 1 share the audited records between them."""
    if (
        member.ndim != 2
        or len(member) < 4
        or len(member) % 2
        or population.shape != member[0].shape
    ):
        return False
    audited = member[:, ~population]
    return bool((audited[0::2] != audited[1::2]).all())


def _read_parquet(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    columns, unused = tables.read_parquet(path, _COLUMNS.__contains__)
    lacking = [n for n in ("model", "record", "label", "member") if n not in columns]
    values = [name for name in _ANSWERS if name in columns]
    if lacking or not values:
        held = ", ".join([*columns, *unused]) or "none"
        lacking += [] if values else ["phi (or logits, or posteriors)"]
        raise InputError(f"{path} has no column {', '.join(lacking)} (it has {held})")
    models, model = np.unique(columns["model"], return_inverse=True)
    records, record = np.unique(columns["record"], return_inverse=True)
    queries, query = np.unique(
        columns.get("query", np.zeros(len(model), np.int64)), return_inverse=True
    )
    shape = (len(queries), len(models), len(records))
    if len(model) != np.prod(shape) or not len(model):
        raise InputError(
            f"{path} has {len(model)} rows, expected one for each of {shape[0]} queries, "
            f"{shape[1]} models and {shape[2]} records"
        )
    filled = np.zeros(shape, bool)
    filled[query, model, record] = True
    if not filled.all():
        raise InputError(f"{path}: some model answers some record more than once, another never")
    arrays = {}
    for name in values:
        column = columns[name]
        arrays[name] = np.empty((*shape, *column.shape[1:]), column.dtype)
        arrays[name][query, model, record] = column
    row = {"model": model, "record": record}
    member = read_flags(columns["member"], str(path), place=lambda at: f"row {at[0]}")
    arrays["member"] = _one_each(path, "member", member, row, shape[1:])
    arrays["labels"] = _one_each(path, "label", columns["label"], {"record": record}, shape[2:])
    if "population" in columns:
        flags = read_flags(
            columns["population"], str(path), "population", lambda at: f"row {at[0]}"
        )
        arrays["population"] = _one_each(path, "population", flags, {"record": record}, shape[2:])
    return arrays, unused


def _one_each(
    path: Path, name: str, column: np.ndarray, of: dict[str, np.ndarray], shape: tuple[int, ...]
) -> np.ndarray:
    """Returns a column as one value for each record, or model and record, in whose rows it is repeated."""
    found = np.empty(shape, column.dtype)
    at = tuple(of.values())
    found[at] = column
    for row in np.flatnonzero(found[at] != column)[:1]:
        raise InputError(
            f"{path}: {name} in row {row} is not what another row says of the same {' and '.join(of)}"
        )
    return found
