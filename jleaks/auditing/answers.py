"""What models answered about the records of an audit: read from whatever they give, kept as signals.

The audited model and its shadows make one bank (`jleaks.attacks.bank.Bank`) in which the audited model is
the first; whatever attacks a bank attacks it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jleaks.attacks import probabilities, score_answers
from jleaks.attacks.bank import Bank
from jleaks.auditing.records import Records
from jleaks.errors import InputError

# RMIA's, as the authors have it.
TEMPERATURE = 2.0
SIGNALS = ("phi", "phi_t", "mentr", "maximum", "entropy", "correct")

Signals = dict[str, np.ndarray]


def is_asked(answers: Any) -> bool:
    """Whether these are no answers yet, but something that gives them: a function, or a black box."""
    return callable(answers) or callable(getattr(answers, "answer", None))


def asked(answers: Any, data: Any) -> tuple[Any, list[str]]:
    """Returns what the audited model answers about all records.

    Args:
      answers: A black box (`jleaks.endpoint`, `jleaks.metered`, anything that answers `answer(records)`),
        or a function of the records.
      data: The records.

    Returns:
      The answers, and what a reader must be told of them.

    Raises:
      InputError: there are no records to ask about, or the asking fails.
    """
    if data is None:
        raise InputError("answers is something to be asked, and data has no records to ask about")
    if callable(getattr(answers, "answer", None)):
        return answers.answer(data), list(getattr(answers, "notes", ()))
    try:
        found = answers(data)
    # Whatever the owner's code raises is the owner's to read, in one line.
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())[:300]
        raise InputError(f"answers raised {type(error).__name__}: {said}") from error
    return (found.detach().cpu() if hasattr(found, "detach") else found), []


def read_answers(
    answers: Any, names: np.ndarray | None, records: Records, whose: str
) -> Float[np.ndarray, "records classes"]:
    """Reads what one model answered about all records.

    Args:
      answers: [N, K] posteriors; [N] or [N, 1] those of the second of two classes; or [N] predicted
        labels, which are read as posteriors of one and zero.
      names: [K'] what the model calls its columns, where it says so (scikit-learn's `classes_`): a class
        that it never saw has the posterior zero.
      records: About which, and what their classes are called.
      whose: Whose answers they are, for messages.

    Returns:
      [N, K] float64.

    Raises:
      InputError: names what cannot be read, and the way out.
    """
    array = probabilities.as_array(answers, whose, "answers")
    n, k = records.num_records, records.num_classes
    if array.ndim not in (1, 2) or len(array) != n:
        raise InputError(f"{whose} answered {array.shape}, expected one answer for each of {n}")
    if array.ndim == 1 and (one_hot := _labels(array, records)) is not None:
        return one_hot
    if not probabilities.is_number(array):
        raise InputError(
            f"{whose} answered {array.dtype}, expected posteriors [{n}, {k}] or labels of the records"
        )
    if array.ndim == 1:
        array = array[:, None]
    if names is not None and len(names) == array.shape[1] < k:
        array = _spread(array, names, records, whose)
    if array.shape[1] not in ((1, 2) if k == 2 else (k,)):
        raise InputError(
            f"{whose} answered {array.shape[1]} columns for {k} classes; expected a column for every "
            "class, in the sorted order of their names (a model with `classes_` may lack some)"
        )
    posteriors, _ = probabilities.read(array, whose, lambda i: f"record {records.ids[i]}")
    return posteriors


def _labels(array: np.ndarray, records: Records) -> np.ndarray | None:
    """Returns predicted labels as posteriors of one and zero; None if they are something else."""
    if array.dtype.kind == "f" and len(records.classes) == 2 and not np.isin(array, (0, 1)).all():
        return None
    place = {str(name): i for i, name in enumerate(records.classes.tolist())}
    texts = [str(value) for value in array.tolist()]
    if not all(text in place for text in texts):
        return None
    found = np.zeros((len(array), records.num_classes))
    found[np.arange(len(array)), [place[text] for text in texts]] = 1
    return found


def _spread(array: np.ndarray, names: np.ndarray, records: Records, whose: str) -> np.ndarray:
    """Returns columns for all classes, zero where the model has none."""
    place = {str(name): i for i, name in enumerate(records.classes.tolist())}
    unknown = [str(name) for name in names.tolist() if str(name) not in place]
    if unknown:
        raise InputError(f"{whose} has a class {unknown[0]!r} that no record has")
    whole = np.zeros((len(array), records.num_classes), np.float64)
    whole[:, [place[str(name)] for name in names.tolist()]] = array
    return whole


def signals_of(
    posteriors: Float[np.ndarray, "records classes"], labels: Int[np.ndarray, "records"]
) -> Signals:
    """Computes what attacks look at, [N] each; phi, phi_t and mentr may be infinite."""
    return score_answers.of_posteriors(posteriors, labels, TEMPERATURE)


def make_bank(
    target: Signals,
    shadows: Sequence[Signals],
    member: Bool[np.ndarray, "shadows records"],
    records: Records,
) -> Bank:
    """Returns the bank of an audited model and its shadows; the audited model is the first.

    Infinite signals are kept beyond the finite ones, at one place for all models.

    Args:
      target: Of the audited model.
      shadows: Of each shadow; none for an audit without.
      member: Which records each shadow was trained on.
      records: About which.

    Where no shadow trained on any of the records, shadows are references alone.
    """
    num_targets = None if member.any() or not shadows else 1
    if not shadows:
        # A bank has two models at least; what trained on the same records is nobody's reference.
        shadows, member = [target], records.member[None]
    kept = {name: np.stack([one[name] for one in (target, *shadows)]) for name in SIGNALS}
    for name in ("phi", "phi_t", "mentr"):
        kept[name] = probabilities.bounded(kept[name], probabilities.bounds(kept[name]))
    floats: dict[str, Any] = {
        name: kept[name].astype(np.float32) for name in SIGNALS if name != "correct"
    }
    return Bank(
        phi=floats.pop("phi")[None],
        correct=kept["correct"][None],
        member=np.concatenate([records.member[None], member]),
        labels=records.labels,
        num_classes=records.num_classes,
        population=np.zeros(records.num_records, bool),
        num_targets=num_targets,
        meta={"task": "audit", "source": "own"},
        **floats,
    )
