"""A bank's answers: all that an attack needs, whoever trained the models.

The file of a bank is an npz with the arrays named below; `jleaks.attacks.score_files` reads others.
"""

import dataclasses
import math
import os
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jleaks import npz
from jleaks.data import canaries
from jleaks.errors import InputError

_REMEDY = "make it again with launch.bank"

CANDIDATES = "candidates"
"""What rows call the audited records that are no canaries."""

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
    "canary",
    "loss_iqr",
    "boundary",
    "target_part",
)
# NumPy's kinds of those that are not floats.
_KINDS = {
    **dict.fromkeys(("member", "population", "correct", "target_part"), "b"),
    **dict.fromkeys(("labels", "canary"), "iu"),
}
# Of records alone: models have no part in them.
_OF_RECORDS = ("labels", "population", "canary", "target_part")
# What may be known of a bank beside its arrays, and its type.
_META = {
    "task": str,
    "source": str,
    "fingerprint": str,
    "format": int,
    "num_records": int,
    "plan": dict,
    "packing": dict,
    "seconds": dict,
}


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
      canary: [N] the number of the record's kind among the plan's canaries, from 1; 0 for no canary; None
        for a bank without any.
      loss_iqr: [M, N] interquartile range of the record's loss over the model's training (nats), or None.
      boundary: [M, N] distance to where the label changes, in the norm of network inputs, or None.
      target_part: [N] of protocol `disjoint` (see `jleaks.data.splits`): the records on some of which the
        targets trained, and no reference did; models without a record in it are the references.  None where
        every model is a target and the others' reference.
      twins: Models 2i and 2i + 1 are twins: each trained on the records that the other did not.
      num_targets: The first so many models may be attacked; the others are references alone, of which
        none need have trained on a record.  None for all.
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
    canary: Int[np.ndarray, "records"] | None = None
    loss_iqr: Float[np.ndarray, "models records"] | None = None
    boundary: Float[np.ndarray, "models records"] | None = None
    target_part: Bool[np.ndarray, "records"] | None = None
    twins: bool = False
    num_targets: int | None = None
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
        expected = {"member": (m, n), "correct": (q, m, n), **dict.fromkeys(_OF_RECORDS, (n,))}
        for name in _ARRAYS:
            array = getattr(self, name)
            shape = expected.get(name, (q, m, n) if name == "phi" else (m, n))
            if array is None:
                continue
            if array.shape != shape:
                found.append(f"{name} has shape {array.shape}, expected {shape}")
            elif array.dtype.kind not in (kinds := _KINDS.get(name, "f")):
                what = {"b": "booleans", "iu": "integers", "f": "floats"}[kinds]
                found.append(f"{name} is {array.dtype}, expected {what}")
            elif array.dtype.kind == "f" and (bad := _num_not_finite(array)):
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
        if self.target_part is not None:
            return found + self._disjoint_problems(self.target_part)
        for model, row in enumerate(self.member[: self.num_targets, ~self.population]):
            if row.all() or not row.any():
                found.append(
                    f"model {model} has no {'non-members' if row.all() else 'members'} among the "
                    "audited records"
                )
                break
        if self.twins and (m % 2 or (self._overlap() != 0).any()):
            found.append("models 2i and 2i + 1 are not twins: some record is in both or neither")
        return found

    def _disjoint_problems(self, part: np.ndarray) -> list[str]:
        """Returns one sentence per thing in which the bank is not of protocol `disjoint`."""
        if (part & self.population).any():
            return ["a population record is in the targets' part"]
        rest = ~part & ~self.population
        own, other = self.member[:, part], self.member[:, rest]
        is_target = own.any(1)
        if (is_target & other.any(1)).any():
            model = int((is_target & other.any(1)).argmax())
            return [f"model {model} trained on records of the targets' part and of the references'"]
        if is_target.all() or not is_target.any():
            return [f"all models are {'targets' if is_target.all() else 'references'}"]
        empty = np.where(is_target, own.all(1), other.all(1) | ~other.any(1))
        if empty.any():
            return [f"model {empty.argmax()} has no members, or no others, in its part"]
        return ["models of two parts are not twins throughout"] if self.twins else []

    def _overlap(self) -> np.ndarray:
        audited = self.member[:, ~self.population]
        return (audited[0::2] == audited[1::2]).sum(-1)

    @property
    def num_models(self) -> int:
        """M."""
        return self.phi.shape[1]

    @property
    def judged(self) -> Bool[np.ndarray, "records"]:
        """The records that targets are audited on."""
        return ~self.population if self.target_part is None else self.target_part

    @property
    def targets(self) -> Int[np.ndarray, "targets"]:
        """The models that are attacked: all, or of protocol `disjoint` those of the targets' part."""
        if self.target_part is None:
            return np.arange(self.num_models)
        return np.flatnonzero(self.member[:, self.target_part].any(1))

    @property
    def about(self) -> dict[str, Any]:
        """What every row says of it: task, source and seed."""
        return {
            "task": self.meta.get("task", "bank"),
            "source": self.meta.get("source", "scores"),
            "seed": self.meta.get("plan", {}).get("seed", 0),
        }

    @property
    def format(self) -> int:
        """Of the fingerprint in `meta` (see `jleaks.fingerprint`)."""
        return self.meta.get("format", self.meta.get("plan", {}).get("format", 1))

    def groups(self) -> dict[str, Bool[np.ndarray, "records"]]:
        """Returns the audited records by what they are: `CANDIDATES` as they came, and each kind of canary.

        Raises:
          InputError: the bank's plan does not say of which kinds its canaries are.
        """
        if self.canary is None:
            return {CANDIDATES: self.judged}
        kinds = canaries.read(str(self.meta.get("plan", {}).get("canaries")))
        return {
            CANDIDATES: self.judged & (self.canary == 0),
            **{kind: self.canary == i for i, (kind, _) in enumerate(kinds, start=1)},
        }

    def group_of(self) -> list[str] | None:
        """Returns what each record is among `groups`, "" if it is not audited; None without canaries."""
        if self.canary is None:
            return None
        found = np.full(len(self.labels), "", object)
        for name, records in self.groups().items():
            found[records] = name
        return found.tolist()

    def accuracy(self) -> tuple[float, float]:
        """Returns the models' mean accuracy on their members and on the audited others (or NaN).

        Canaries, whose classes are not theirs, are left out.
        """
        if self.correct is None:
            return float("nan"), float("nan")
        counts, candidate = np.zeros((2, 2)), self.groups()[CANDIDATES]
        # Row by row: the arrays may be on the disk.
        for right, member in zip(self.correct[0], self.member, strict=True):
            for kind, chosen in enumerate((member & candidate, ~member & candidate)):
                counts[kind] += right[chosen].sum(), chosen.sum()
        members, others = counts[:, 0] / counts[:, 1]
        return float(members), float(others)

    def take(self, models: np.ndarray | slice) -> "Bank":
        """Returns the bank of some of the models (twins must stay together)."""
        fields = {name: getattr(self, name) for name in _ARRAYS}
        for name, array in fields.items():
            if name in _OF_RECORDS or array is None:
                continue
            fields[name] = array[:, models] if array.ndim == 3 else array[models]
        return dataclasses.replace(self, **fields)

    def joined(self, other: "Bank") -> "Bank":
        """Returns the bank of these models and another's, on the same records."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
        for name, array in fields.items():
            others = getattr(other, name)
            if name not in _OF_RECORDS:
                missing = array is None or others is None
                fields[name] = None if missing else np.concatenate([array, others], axis=-2)
        return dataclasses.replace(self, **fields)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the bank, whole or not at all.

        Raises:
          InputError: it cannot be written.
        """
        arrays = {name: getattr(self, name) for name in _ARRAYS if getattr(self, name) is not None}
        npz.save(path, arrays, {**self.meta, "num_classes": self.num_classes, "twins": self.twins})


def _num_not_finite(array: np.ndarray) -> int:
    """Counts values that are not finite, a row at a time: the array may be on the disk."""
    rows = array.reshape(math.prod(array.shape[:-1]), array.shape[-1])
    return sum(int((~np.isfinite(row)).sum()) for row in rows)


def load(path: str | os.PathLike[str], on_disk: bool = False) -> Bank:
    """Reads a bank that `Bank.save` wrote.

    Args:
      path: The file.
      on_disk: Whether arrays stay on the disk, as read-only maps of the file.

    Raises:
      InputError: the file is missing, damaged or not a bank.
    """
    arrays, meta = (npz.mapped if on_disk else npz.load)(path, _REMEDY)
    num_classes, twins = meta.pop("num_classes", None), meta.pop("twins", None)
    problem = _meta_problem(meta)
    if type(num_classes) is not int or not 2 <= num_classes < 2**31 or type(twins) is not bool:
        problem = f"num_classes is {num_classes}, twins is {twins}"
    if lacking := [name for name in _ARRAYS[:4] if name not in arrays]:
        problem = f"it has no {', no '.join(lacking)}"
    if problem is not None:
        raise npz.damaged(path, problem, _REMEDY)
    known = {name: array for name, array in arrays.items() if name in _ARRAYS}
    if not on_disk:
        # Banks may be kept in half precision, and are computed with in single.
        for name, array in known.items():
            if array.dtype == np.float16:
                known[name] = array.astype(np.float32)
    try:
        return Bank(num_classes=num_classes, twins=twins, num_targets=None, meta=meta, **known)
    except InputError as error:
        raise npz.damaged(path, str(error), _REMEDY) from error


def _meta_problem(meta: dict[str, Any]) -> str | None:
    """Returns one sentence if what is known of a bank cannot be used, or None."""
    for name, kind in _META.items():
        if name in meta and type(meta[name]) is not kind:
            return f"{name} is {meta[name]!r:.40}, expected {kind.__name__}"
    for name, value in meta.get("seconds", {}).items():
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            return f"seconds of {name} are {value!r:.40}"
    if not isinstance(meta.get("plan", {}).get("recipe", {}), dict):
        return "the plan's recipe is no object"
    return None
