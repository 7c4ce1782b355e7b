"""A bank's answers: all that an attack needs, whoever trained the models.

The file of a bank is an npz with the arrays named below; `jleaks.bank.files` reads others.
"""

import dataclasses
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jleaks.errors import InputError

_ARRAYS = (
    "phi",
    "member",
    "labels",
    "population",
    "correct",
    "phi_t",
    "mentr",
    "maximum",
    "entropy",
    "quantile",
)


@dataclasses.dataclass(frozen=True, eq=False)
class Bank:
    """What M models answered about N records.

    Attributes:
      phi: [Q, M, N] logit-scaled confidence in the true class under each query; query 0 is the
        record itself.
      member: [M, N] whether model m trained on record n.
      labels: [N] true classes.
      num_classes: K.
      population: [N] records held out from all models; they are not audited.
      correct: [Q, M, N] whether the prediction was right, or None if not known.
      phi_t: [M, N] phi at RMIA's temperature, or None.
      mentr: [M, N] modified entropy (larger means member), or None.
      maximum: [M, N] largest posterior, or None.
      entropy: [M, N] negative entropy, or None.
      quantile: [M, N] what a network predicts of phi's quantile among non-members, or None.
      twins: Models 2i and 2i + 1 are twins: each trained on the records that the other did not.
      meta: Task, source, temperature, fingerprint and whatever else is known.
    """

    phi: Float[np.ndarray, "queries models records"]
    member: Bool[np.ndarray, "models records"]
    labels: Int[np.ndarray, "records"]
    num_classes: int
    population: Bool[np.ndarray, "records"]
    correct: Bool[np.ndarray, "queries models records"] | None = None
    phi_t: Float[np.ndarray, "models records"] | None = None
    mentr: Float[np.ndarray, "models records"] | None = None
    maximum: Float[np.ndarray, "models records"] | None = None
    entropy: Float[np.ndarray, "models records"] | None = None
    quantile: Float[np.ndarray, "models records"] | None = None
    twins: bool = False
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = self._problems()
        if problems:
            raise InputError(f"{self.meta.get('task', 'bank')}: {'; '.join(problems)}")

    def _problems(self) -> list[str]:
        """Returns one sentence per array that cannot be used."""
        if self.phi.ndim != 3:
            return [f"phi has shape {self.phi.shape}, expected [queries, models, records]"]
        q, m, n = self.phi.shape
        found = []
        expected = {"member": (m, n), "labels": (n,), "population": (n,), "correct": (q, m, n)}
        for name in _ARRAYS:
            array = getattr(self, name)
            shape = expected.get(name, (q, m, n) if name == "phi" else (m, n))
            if array is None:
                continue
            if array.shape != shape:
                found.append(f"{name} has shape {array.shape}, expected {shape}")
            elif array.dtype.kind == "f" and not np.isfinite(array).all():
                bad = int((~np.isfinite(array)).sum())
                found.append(f"{name} has {bad} values that are not finite")
        if found:
            return found
        if m < 2:
            found.append(f"there are {m} models, expected at least 2")
        if self.num_classes < 2 or self.labels.min() < 0 or self.labels.max() >= self.num_classes:
            found.append(
                f"labels are {self.labels.min()}..{self.labels.max()}, expected "
                f"0..{self.num_classes - 1}"
            )
        if self.member[:, self.population].any():
            found.append("a population record is a member of some model")
        for model, row in enumerate(self.member[:, ~self.population]):
            if row.all() or not row.any():
                found.append(
                    f"model {model} has no {'non-members' if row.all() else 'members'} among the "
                    "audited records"
                )
                break
        if self.twins and (m % 2 or (self._overlap() != 0).any()):
            found.append("models 2i and 2i + 1 are not twins: some record is in both or neither")
        return found

    def _overlap(self) -> np.ndarray:
        audited = self.member[:, ~self.population]
        return (audited[0::2] == audited[1::2]).sum(-1)

    @property
    def num_models(self) -> int:
        """M."""
        return self.phi.shape[1]

    def accuracy(self) -> tuple[float, float]:
        """Returns the models' mean accuracy on their members and on the audited others (or NaN)."""
        if self.correct is None:
            return float("nan"), float("nan")
        audited = ~self.population
        right, member = self.correct[0][:, audited], self.member[:, audited]
        return float(right[member].mean()), float(right[~member].mean())

    def take(self, models: np.ndarray | slice) -> "Bank":
        """Returns the bank of some of the models (twins must stay together)."""
        fields = {name: getattr(self, name) for name in _ARRAYS}
        for name, array in fields.items():
            if name in ("labels", "population") or array is None:
                continue
            fields[name] = array[:, models] if array.ndim == 3 else array[models]
        return dataclasses.replace(self, **fields)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the bank, whole or not at all."""
        path = Path(path)
        partial = path.with_name(f".{path.stem}.{os.getpid()}.npz")
        arrays = {name: getattr(self, name) for name in _ARRAYS if getattr(self, name) is not None}
        meta = {**self.meta, "num_classes": self.num_classes, "twins": self.twins}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(partial, meta=np.array(json.dumps(meta)), **arrays)
            partial.replace(path)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from error
        finally:
            partial.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> Bank:
    """Reads a bank that `Bank.save` wrote.

    Raises:
      InputError: the file is missing, damaged or not a bank.
    """
    try:
        with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            meta = json.loads(str(file["meta"]))
            arrays = {name: file[name] for name in _ARRAYS if name in file}
            return Bank(
                num_classes=meta.pop("num_classes"), twins=meta.pop("twins"), meta=meta, **arrays
            )
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a bank's file or is damaged: {error}") from error
