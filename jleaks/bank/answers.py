"""What attacks look at, computed from logits or posteriors that models from elsewhere gave."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jleaks import probabilities, signals
from jleaks.errors import InputError

# log of the smallest positive number there is: probabilities further down are zero.
_ZERO = 745.0
_MOST_NAMED = 5


def check(path: Path, name: str, array: np.ndarray, records: tuple[int, ...]) -> np.ndarray:
    """Checks type and shape of a score file's logits or posteriors.

    Args:
      path: Of the file, for messages.
      name: "logits" or "posteriors".
      array: What should be [M, N, K] or [Q, M, N, K].
      records: (N,), the shape of the labels.

    Returns:
      [Q, M, N, K].

    Raises:
      InputError: it is something else.
    """
    expected = f"expected [(queries,) models, {records[0] if records else 'N'} records, classes]"
    if array.dtype.kind not in "fiu":
        hint = " (bfloat16?  Save float32)" if array.dtype == "V2" else ""
        raise InputError(f"{path}: {name} are {array.dtype}, expected numbers{hint}")
    whole = array[None] if array.ndim == 3 else array
    if whole.ndim != 4 or whole.shape[2:3] != records or 0 in whole.shape:
        one = "; one output per record is [models, records, 1]" if array.ndim == 2 else ""
        raise InputError(f"{path}: {name} have shape {array.shape}, {expected}{one}")
    return whole


def signals_of(
    path: Path,
    name: str,
    answers: np.ndarray,
    labels: Int[np.ndarray, "records"],
    temperature: float,
    notes: list[str],
) -> dict[str, np.ndarray]:
    """Computes the signals of query 0, and phi and correctness of all queries.

    Args:
      path: Of the file, for messages.
      name: "logits" or "posteriors".
      answers: [Q, M, N, K].
      labels: True classes, below K (below 2 where K is 1).
      temperature: RMIA's.
      notes: Receives what a reader must be told.

    Returns:
      phi and correct [Q, M, N]; phi_t, mentr, maximum and entropy [M, N]; all finite.

    Raises:
      InputError: names the first model and record whose answer cannot be used.
    """
    true = jnp.asarray(labels)

    @jax.jit
    def one(found: Array) -> dict[str, Array]:
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
    forms: list[probabilities.Form] = []
    found: list[list[dict[str, np.ndarray]]] = []
    for q, query in enumerate(answers):
        found.append([])
        for m, model in enumerate(query):
            at = (q, m) if len(answers) > 1 else (m,)
            logits = _logits(f"{path}: {name} of {_model_at(at)}", name, model, forms)
            found[-1].append(jax.device_get(one(jnp.asarray(logits))))
    kept = {key: np.stack([m[key] for m in found[0]]) for key in found[0][0]}
    for key in ("phi", "correct"):
        kept[key] = np.stack([np.stack([m[key] for m in query]) for query in found])
    if name == "posteriors":
        notes += probabilities.merged(forms).lines(str(path))
        notes.append(_precision(path, kept["phi"]))
    elif answers.shape[-1] == 1:
        notes.append(f"{path}: one logit z per record is read as that of class 1: (0, z)")
    notes += _bounded(path, kept)
    return kept


def _model_at(at: tuple[int, ...]) -> str:
    return ", ".join(
        f"{axis} {i}" for axis, i in zip(("query", "model")[-len(at) :], at, strict=True)
    )


def _logits(
    where: str, name: str, model: np.ndarray, forms: list[probabilities.Form]
) -> Float[np.ndarray, "records k"]:
    """Returns one model's answers [N, K] as logits, each record's largest 0; -inf where p is zero."""
    if name == "posteriors":
        found, form = probabilities.read(model, where, lambda i: f"record {i}")
        forms.append(form)
        with np.errstate(divide="ignore"):
            wide = np.log(found)
    else:
        wide = model.astype(np.float64)
        if wide.shape[1] == 1:
            wide = np.concatenate([np.zeros_like(wide), wide], axis=1)
        bad = np.isnan(wide) | (wide == np.inf) | (wide == -np.inf).all(1, keepdims=True)
        for record, k in np.argwhere(bad)[:1]:
            raise InputError(
                f"{where}: record {record} has {wide[record, k]} for class {k}"
                f"{' and every other' if wide[record, k] == -np.inf else ''}, expected numbers (-inf for a "
                "class of probability zero)"
            )
    wide -= wide.max(1, keepdims=True)
    # Below the smallest positive number a probability is zero, whatever was written for it.
    return np.where(wide < -_ZERO, -np.inf, wide).astype(np.float32)


def _precision(path: Path, phi: Float[np.ndarray, "queries models records"]) -> str:
    """Says how far phi can be told from posteriors."""
    finite = np.abs(phi[np.isfinite(phi)])
    return (
        f"{path}: phi is computed from posteriors, |phi| up to {finite.max(initial=0):.3g}; logits, if the "
        "models have them, tell surer answers apart"
    )


def _bounded(path: Path, kept: dict[str, np.ndarray]) -> list[str]:
    """Puts infinite phi, phi_t and mentr beyond the finite ones; says of which records phi was so."""
    phi, notes = kept["phi"], []
    limits = {key: probabilities.bounds(kept[key]) for key in ("phi", "phi_t", "mentr")}
    for value, bound, what in (
        (-np.inf, limits["phi"].lowest, "their true class"),
        (np.inf, limits["phi"].highest, "all but their true class"),
    ):
        is_infinite = phi == value
        if is_infinite.any():
            records = np.flatnonzero(is_infinite.any((0, 1)))
            models = np.flatnonzero(is_infinite.any((0, 2)))
            notes.append(
                f"{path}: {len(records)} records ({_some(records)}) have a probability of 0 for {what} in "
                f"{len(models)} models ({_some(models)}): {int(is_infinite.sum())} values of phi are kept "
                f"at {bound:.4g}, log 2 beyond the finite ones"
            )
    for key, bounds in limits.items():
        kept[key] = probabilities.bounded(kept[key], bounds)
    return notes


def _some(positions: np.ndarray) -> str:
    shown = ", ".join(map(str, positions[:_MOST_NAMED].tolist()))
    return shown + (", ..." if len(positions) > _MOST_NAMED else "")
