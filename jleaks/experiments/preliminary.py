"""Networks that a defence trains before those it defends (see `jleaks.defences.preliminary`)."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from jleaks import keys
from jleaks.defences.preliminary import Told
from jleaks.errors import InputError
from jleaks.experiments.answers import Answers
from jleaks.experiments.subjects import Subject
from jleaks.training.fleet import stack_key_data
from jleaks.training.recipe import Recipe

# Trains networks, if need be, and returns each one's answers about its rows.
AskFn = Callable[[Sequence[Subject], Sequence[np.ndarray]], list[Answers]]


def networks(subject: Subject, labels: Int[np.ndarray, "members"]) -> list[Subject]:
    """Returns what a subject's defence trains first; nothing where it needs none.

    Args:
      subject: The network that is defended.
      labels: [n] of its members.

    Raises:
      InputError: one would have no whole batch to train on.
    """
    if subject.defence is None or subject.defence.preliminary is None:
        return []
    assert isinstance(subject.recipe, Recipe)
    trained = _trained(subject, labels)
    if (least := int(trained.sum(1).min())) < subject.recipe.batch_size:
        raise InputError(
            f"{subject.defence} trains networks on parts of the {len(labels)} members of the "
            f"{subject.name}: the smallest has {least} records, fewer than batch_size, "
            f"{subject.recipe.batch_size}"
        )
    own = [jax.random.fold_in(_key(subject), 1 + i) for i in range(len(trained))]
    return [
        dataclasses.replace(
            subject,
            name=f"network {i} that {subject.defence.name} trains before the {subject.name}",
            members=subject.members[inside],
            others=subject.members[~inside],
            key_data=key_data,
            defence=None,
            null_order=None,
            watch=None,
        )
        for i, (inside, key_data) in enumerate(zip(trained, stack_key_data(own), strict=True))
    ]


def told(subject: Subject, labels: Int[np.ndarray, "members"], ask: AskFn) -> Told:
    """Returns what a subject's defence learns from.

    Args:
      subject: The network that is defended, by a defence that trains others first.
      labels: [n] of its members.
      ask: Trains and asks networks.
    """
    first = networks(subject, labels)
    answers = ask(first, [subject.members] * len(first))
    return Told(
        posteriors=np.stack([found.whole() for found in answers]),
        trained=_trained(subject, labels),
        labels=labels,
        key_data=stack_key_data([_key(subject)])[0],
    )


def _key(subject: Subject) -> jax.Array:
    own = keys.wrap(jnp.asarray(subject.key_data))
    return jax.random.fold_in(own, keys.Stream.PRELIMINARY)


def _trained(subject: Subject, labels: np.ndarray) -> Bool[np.ndarray, "networks members"]:
    assert subject.defence is not None
    assert subject.defence.preliminary is not None
    trained = subject.defence.preliminary.cut(labels, stack_key_data([_key(subject)])[0])
    if trained.ndim != 2 or trained.shape[1] != len(labels) or trained.dtype != np.bool_:
        raise InputError(
            f"{subject.defence} says who trains on what by {trained.dtype} of {trained.shape}, expected "
            f"booleans [networks, {len(labels)}]"
        )
    return trained
