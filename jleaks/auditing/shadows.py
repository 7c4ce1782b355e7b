"""Shadow models of any library: trained by the owner's own function, in a pool of processes.

Each shadow is trained on an independent random subset of all records, as many as the audited model was
trained on (but no less than a quarter and no more than three quarters, so that every record has shadows
that trained on it and shadows that did not).  What a shadow answered about all records is kept under the
fingerprint of data, membership, seed and code: a run that was stopped goes on, and nothing is trained
twice.
"""

import contextlib
import inspect
import os
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from jaxtyping import Bool

from jleaks import npz
from jleaks.auditing.answers import SIGNALS, Signals, read_answers, signals_of
from jleaks.auditing.code import code_digest
from jleaks.auditing.records import Records, shuffled_subsets, take
from jleaks.errors import InputError
from jleaks.fingerprint import fingerprint
from jleaks.keys import Role, identity_generator

# The owner's own training: (records, labels) -> model; and asking: (model, records) -> posteriors.
FitFn = Callable[..., Any]
PredictFn = Callable[[Any, Any], Any]

_REMEDY = "delete it to train the shadow again"


class Shadows(NamedTuple):
    """What shadow models answered.

    Attributes:
      member: [S, N] which records each was trained on.
      signals: Of each shadow, [N] each.
      seconds: That training and asking took, summed over shadows, on one process each.
      num_trained: How many were trained now; the others were kept.
    """

    member: Bool[np.ndarray, "shadows records"]
    signals: list[Signals]
    seconds: float
    num_trained: int


def memberships(
    member: Bool[np.ndarray, "records"],
    num_shadows: int,
    seed: int,
    among: Bool[np.ndarray, "records"] | None = None,
) -> Bool[np.ndarray, "shadows records"]:
    """Returns who is trained on what: subsets by the key, each independent of the audited model's.

    Args:
      member: Of the audited model.
      num_shadows: S.
      seed: Of the subsets.
      among: Which records shadows may be trained on; None for all.
    """
    if among is not None:
        found = np.zeros((num_shadows, len(member)), bool)
        found[:, among] = _subsets(int(member.sum()), int(among.sum()), num_shadows, seed)
        return found
    return _subsets(int(member.sum()), len(member), num_shadows, seed)


def _subsets(size: int, n: int, num_shadows: int, seed: int) -> np.ndarray:
    size = int(np.clip(size, n // 4, n - n // 4))
    generators = [
        identity_generator(seed, "audit", Role.SHADOW_SPLIT, i) for i in range(num_shadows)
    ]
    return shuffled_subsets([size] * num_shadows, n, generators)


def train_shadows(
    fit: FitFn,
    predict: PredictFn,
    records: Records,
    member: Bool[np.ndarray, "shadows records"],
    folder: str | os.PathLike[str],
    *,
    seed: int = 0,
    num_processes: int | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Shadows:
    """Trains shadows, or continues; asks each about every record.

    Args:
      fit: Called with records and labels as the owner has them, and with `seed` or `random_state` if it
        takes one; returns a model.
      predict: Called with a model and all records; returns posteriors [N, K] (see `read_answers`).
      records: What to train on and to ask about.
      member: Who is trained on what.
      folder: Where answers are kept.
      seed: Decides each shadow's own seed.
      num_processes: How many train at once; None for one a core.
      tell: Receives a line of progress.

    Raises:
      InputError: the owner's functions fail, or answer what cannot be read.
    """
    # Of what they were told to do, and by which code.
    digest = records.digest()
    code = code_digest(fit, predict)
    names = [
        fingerprint("audit shadow", digest, code, seed, i, row) for i, row in enumerate(member)
    ]
    paths = [Path(folder) / "shadows" / f"{name}.npz" for name in names]
    missing = [i for i, path in enumerate(paths) if not path.exists()]
    if missing:
        _train(fit, predict, records, member, paths, missing, seed, num_processes, tell)
    kept = [_load(path, records.num_records) for path in paths]
    return Shadows(member, [one for one, _ in kept], sum(s for _, s in kept), len(missing))


def _train(
    fit: FitFn,
    predict: PredictFn,
    records: Records,
    member: np.ndarray,
    paths: list[Path],
    missing: list[int],
    seed: int,
    num_processes: int | None,
    tell: Callable[[str], None],
) -> None:
    try:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {paths[0].parent}: {error.strerror}") from error
    tick = last = time.monotonic()
    tell(f"{len(missing)} shadow models to train, {len(paths) - len(missing)} kept from before")
    pool = joblib.Parallel(num_processes or -1, return_as="generator_unordered")
    own = records.own_labels(np.arange(records.num_records))
    done = pool(
        joblib.delayed(_one)(fit, predict, records.data, own, member[i], i, seed) for i in missing
    )
    with _closing(done):
        for count, (i, answers, names, seconds, problem) in enumerate(done, 1):
            if problem is not None:
                raise InputError(f"shadow {i}: {problem}")
            posteriors = read_answers(answers, names, records, f"shadow {i}")
            npz.save(paths[i], signals_of(posteriors, records.labels), {"seconds": seconds})
            now = time.monotonic()
            if now - last >= 5 or count == len(missing):
                left = (now - tick) / count * (len(missing) - count)
                tell(
                    f"{count} of {len(missing)} shadow models, {now - tick:.0f} s, {left:.0f} s to go"
                )
                last = now


@contextlib.contextmanager
def _closing(pool: Any) -> Iterator[None]:
    """Ends a pool's work whatever happens; what was trained but not kept is no news where one failed."""
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pool.close()


def _one(
    fit: FitFn,
    predict: PredictFn,
    data: Any,
    labels: np.ndarray,
    member: np.ndarray,
    index: int,
    seed: int,
) -> tuple[int, Any, Any, float, str | None]:
    """Trains and asks one shadow, in a process of its own; what goes wrong comes back as text."""
    own = seed_globally(seed, index)
    rows, tick, doing = np.flatnonzero(member), time.monotonic(), "fit"
    try:
        model = fit_once(fit, take(data, rows), labels[rows], own)
        doing = "predict"
        answers = predict(model, data)
        names = getattr(model, "classes_", None)
        names = None if names is None else np.asarray(names)
        if hasattr(answers, "detach"):
            answers = answers.detach().cpu()
        return index, np.asarray(answers), names, time.monotonic() - tick, None
    # Whatever the owner's code raises is the owner's to read, in one line.
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())[:300]
        return index, None, None, 0.0, f"{doing} raised {type(error).__name__}: {said}"


def fit_once(fit: FitFn, data: Any, labels: np.ndarray, seed: int) -> Any:
    """Calls the owner's training, with a seed where it takes one."""
    try:
        takes = set(inspect.signature(fit).parameters)
    except (TypeError, ValueError):
        takes = set()
    for name in ("seed", "random_state"):
        if name in takes:
            return fit(data, labels, **{name: seed})
    return fit(data, labels)


def seed_globally(seed: int, index: int) -> int:
    """Seeds the generators that libraries share; returns the shadow's own seed, below 2^31."""
    own = int(identity_generator(seed, "audit", Role.SHADOW, index).integers(2**31))
    random.seed(own)
    np.random.seed(own)  # noqa: NPY002 - what scikit-learn draws from by default
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(own)
    return own


def _load(path: Path, num_records: int) -> tuple[Signals, float]:
    """Reads what a shadow answered."""
    arrays, meta = npz.load(path, _REMEDY)
    if arrays.keys() != set(SIGNALS) or any(a.shape != (num_records,) for a in arrays.values()):
        raise npz.damaged(path, f"it has not the signals of {num_records} records", _REMEDY)
    seconds = meta.get("seconds")
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
        raise npz.damaged(path, f"it says that training took {seconds}", _REMEDY)
    return arrays, float(seconds)
