"""Score files: the answers of models that were trained anywhere, for the same evaluator.

npz, with arrays of these names (M models, N records, K classes, Q queries per record):

    logits      [M, N, K] or [Q, M, N, K]   from which everything else is computed; or, instead,
    phi         [M, N] or [Q, M, N]         logit-scaled confidence log p_y - log(1 - p_y)
    member      [M, N]                      whether model m trained on record n (bool, or 0 and 1)
    labels      [N]                         true classes 0..K-1
    population  [N]                         optional: records held out from all models, not audited
    correct, phi_t, mentr, maximum, entropy, quantile   optional: as in `jleaks.bank.bank.Bank`

Compute phi from logits: from posteriors that were rounded to 1 it is lost.

parquet, one row per model, record and query, with columns `model`, `record`, `label`, `member`, `phi` and
optionally `query`, `population`; every model answers every record.
"""

import os
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jleaks import signals
from jleaks.bank import bank as bank_lib
from jleaks.bank.bank import Bank
from jleaks.errors import InputError

_OPTIONAL = ("correct", "phi_t", "mentr", "maximum", "entropy", "quantile")


def read(path: str | os.PathLike[str], temperature: float = 2.0) -> Bank:
    """Reads a bank's file or a score file.

    Args:
      path: npz or parquet.
      temperature: RMIA's, where the file has logits.

    Raises:
      InputError: the file is missing, damaged, lacks an array, or an array cannot be used.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.suffix == ".parquet":
        arrays = _read_parquet(path)
    elif path.suffix == ".npz":
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                if "meta" in file:
                    return bank_lib.load(path)
                arrays = {name: file[name] for name in file}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is damaged: {error}") from error
    else:
        raise InputError(f"{path} is neither .npz nor .parquet")
    return _bank(path, arrays, temperature)


def _bank(path: Path, arrays: dict[str, np.ndarray], temperature: float) -> Bank:
    lacking = [name for name in ("member", "labels") if name not in arrays]
    if "phi" not in arrays and "logits" not in arrays:
        lacking.append("phi or logits")
    if lacking:
        raise InputError(f"{path} has no {', no '.join(lacking)} (it has {', '.join(arrays)})")
    labels = _integers(path, "labels", arrays["labels"])
    num_classes = int(labels.max(initial=0)) + 1
    fields: dict[str, Any] = {name: arrays[name] for name in _OPTIONAL if name in arrays}
    if "logits" in arrays:
        num_classes = max(num_classes, arrays["logits"].shape[-1])
        fields = {**_from_logits(path, arrays["logits"], labels, temperature), **fields}
    if "phi" in arrays:
        fields["phi"] = arrays["phi"]
    for name in ("phi", "correct"):
        if name in fields and fields[name].ndim == 2:
            fields[name] = fields[name][None]
    for name, value in fields.items():
        if name != "correct":
            if value.dtype.kind not in "fiu":
                raise InputError(f"{path}: {name} is {value.dtype}, expected numbers")
            fields[name] = value.astype(np.float32)
    if "correct" in fields:
        fields["correct"] = _flags(path, "correct", fields["correct"])
    population = arrays.get("population", np.zeros(labels.shape, bool))
    member = _flags(path, "member", arrays["member"])
    return Bank(
        member=member,
        labels=labels,
        num_classes=max(num_classes, 2),
        population=_flags(path, "population", population),
        twins=_are_twins(member, _flags(path, "population", population)),
        meta={"task": path.stem, "source": "scores"},
        **fields,
    )


def _flags(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype != bool and not np.isin(array, (0, 1)).all():
        raise InputError(f"{path}: {name} has values other than true and false (or 0 and 1)")
    return array.astype(bool)


def _integers(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(
            f"{path}: {name} is {array.dtype} of shape {array.shape}, expected integers [records]"
        )
    return array.astype(np.int32)


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


def _from_logits(
    path: Path, logits: np.ndarray, labels: np.ndarray, temperature: float
) -> dict[str, np.ndarray]:
    """Computes the signals of query 0, and phi and correctness of all queries."""
    if logits.ndim == 3:
        logits = logits[None]
    if logits.ndim != 4 or logits.shape[2] != len(labels) or logits.shape[3] <= labels.max():
        raise InputError(
            f"{path}: logits have shape {logits.shape}, expected [(queries,) models, "
            f"{len(labels)} records, at least {labels.max() + 1} classes]"
        )
    if not np.isfinite(logits).all():
        raise InputError(f"{path}: logits have values that are not finite")

    true = jnp.asarray(labels)

    @jax.jit
    def one(found: Any) -> dict[str, Any]:
        statistics = signals.confidence_statistics(found)
        return {
            "phi": signals.scaled_confidence(found, true),
            "phi_t": signals.scaled_confidence(found / temperature, true),
            "mentr": signals.modified_entropy(found, true),
            "maximum": statistics[:, 0],
            "entropy": statistics[:, 2],
            "correct": jnp.argmax(found, -1) == true,
        }

    # One model at a time: logits are many times larger than what is kept of them.
    found = [[jax.device_get(one(model)) for model in query] for query in logits]
    kept = {name: np.stack([m[name] for m in found[0]]) for name in found[0][0]}
    for name in ("phi", "correct"):
        kept[name] = np.stack([np.stack([m[name] for m in query]) for query in found])
    return kept


def _read_parquet(path: Path) -> dict[str, np.ndarray]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError("parquet files need pyarrow: pip install pyarrow") from error
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise InputError(f"{path} is not a parquet file: {error}") from error
    columns = {name: table[name].to_numpy() for name in table.column_names}
    lacking = [n for n in ("model", "record", "label", "member", "phi") if n not in columns]
    if lacking:
        raise InputError(f"{path} has no column {', '.join(lacking)}")
    models, model = np.unique(columns["model"], return_inverse=True)
    records, record = np.unique(columns["record"], return_inverse=True)
    queries, query = np.unique(
        columns.get("query", np.zeros(len(model), np.int64)), return_inverse=True
    )
    shape = (len(queries), len(models), len(records))
    if len(model) != np.prod(shape):
        raise InputError(
            f"{path} has {len(model)} rows, expected one for each of {shape[0]} queries, "
            f"{shape[1]} models and {shape[2]} records"
        )
    filled = np.zeros(shape, bool)
    filled[query, model, record] = True
    if not filled.all():
        raise InputError(f"{path}: some model answers some record more than once, another never")
    phi, member = np.empty(shape, np.float32), np.empty(shape[1:], np.float32)
    labels = np.empty(len(records), np.int64)
    population = np.zeros(len(records), np.float32)
    phi[query, model, record] = columns["phi"]
    member[model, record] = columns["member"]
    labels[record] = columns["label"]
    if (labels[record] != columns["label"]).any():
        raise InputError(f"{path}: a record has two labels")
    if "population" in columns:
        population[record] = columns["population"]
    return {"phi": phi, "member": member, "labels": labels, "population": population}
