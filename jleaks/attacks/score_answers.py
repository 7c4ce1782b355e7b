"""What attacks look at, computed from logits or posteriors that models from elsewhere gave."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jleaks.attacks import probabilities, signals
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
    if len(records) != 1:
        raise InputError(f"{path}: labels have shape {records}, expected one per record")
    expected = f"expected [(queries,) models, {records[0]} records, classes]"
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
    # One model at a time: logits are many times larger than what is kept of them.
    forms: list[probabilities.Form] = []
    found: list[list[dict[str, np.ndarray]]] = []
    for q, query in enumerate(answers):
        found.append([])
        for m, model in enumerate(query):
            at = (q, m) if len(answers) > 1 else (m,)
            where = f"{path}: {name} of {_model_at(at)}"
            if name == "posteriors":
                p, form = probabilities.read(model, where, lambda i: f"record {i}")
                forms.append(form)
                found[-1].append(of_posteriors(p, labels, temperature))
            else:
                logits = _checked_logits(where, model)
                found[-1].append(of_logits(logits, labels, temperature))
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


def of_logits(
    logits: Float[np.ndarray, "records k"], labels: Int[np.ndarray, "records"], temperature: float
) -> dict[str, np.ndarray]:
    """Computes one model's signals.

    Args:
      logits: [N, K] float64; -inf where a probability is zero.
      labels: True classes.
      temperature: RMIA's.

    Returns:
      phi, phi_t, mentr, maximum, entropy and correct [N].  The first three are infinite where the true
      class, or all others, have a probability of zero.
    """
    logits = logits - logits.max(1, keepdims=True)
    # Below the smallest positive number a probability is zero, whatever was written for it.
    narrow = np.where(logits < -_ZERO, -np.inf, logits).astype(np.float32)
    found = _signals(jnp.asarray(narrow), jnp.asarray(labels), temperature)
    return {**jax.device_get(found), "correct": logits.argmax(1) == labels}


def of_posteriors(
    p: Float[np.ndarray, "records k"], labels: Int[np.ndarray, "records"], temperature: float
) -> dict[str, np.ndarray]:
    """Computes one model's signals; see `of_logits`.

    Posteriors of forests, and rounded ones, are often equal.  Records that tie on paper tie here.

    Args:
      p: [N, K] float64, zeros among them.
      labels: True classes.
      temperature: RMIA's.
    """
    ordered = probabilities.true_first(p, labels)
    # Phi is of two numbers alone: however the others add up, they are one.
    pair = np.stack([ordered[:, 0], ordered[:, 1:].sum(1)], axis=1)
    with np.errstate(divide="ignore"):
        found, of_pair = (
            of_logits(np.log(q), np.zeros_like(labels), temperature) for q in (ordered, pair)
        )
    return {**found, "phi": of_pair["phi"], "correct": p.argmax(1) == labels}


@jax.jit
def _signals(logits: Array, labels: Array, temperature: Array | float) -> dict[str, Array]:
    statistics = signals.confidence_statistics(logits)
    return {
        "phi": signals.scaled_confidence(logits, labels),
        "phi_t": signals.scaled_confidence(logits / temperature, labels),
        "mentr": signals.modified_entropy(logits, labels),
        "maximum": statistics[:, 0],
        "entropy": statistics[:, 2],
    }


def _model_at(at: tuple[int, ...]) -> str:
    return ", ".join(
        f"{axis} {i}" for axis, i in zip(("query", "model")[-len(at) :], at, strict=True)
    )


def _checked_logits(where: str, model: np.ndarray) -> Float[np.ndarray, "records k"]:
    """Returns one model's logits [N, K >= 2] as float64; -inf is a probability of zero."""
    wide = model.astype(np.float64)
    if wide.shape[1] == 1:
        wide = np.concatenate([np.zeros_like(wide), wide], axis=1)
    bad = np.isnan(wide) | (wide == np.inf) | (wide == -np.inf).all(1, keepdims=True)
    for record, k in np.argwhere(bad)[:1]:
        every = " and every other" if wide[record, k] == -np.inf else ""
        raise InputError(
            f"{where}: record {record} has {wide[record, k]} for class {k}{every}, expected numbers (-inf "
            "for a class of probability zero)"
        )
    return wide


def _precision(path: Path, phi: Float[np.ndarray, "queries models records"]) -> str:
    """Says how far phi can be told from posteriors."""
    most = np.abs(phi[np.isfinite(phi)]).max(initial=0)
    return (
        f"{path}: phi is computed from posteriors; beyond |phi| = {most:.3g} they tell no answers "
        "apart, as logits would"
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
