"""What a defence is: another training, other answers, or several models that answer as one.

An entry of `DEFENCES` is a function from a strength to a `Defence`.  Whoever is attacked has it; so have
the shadows of an attacker who knows of it, and nothing else needs to be said for that attacker.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from jleaks.defences.preliminary import Preliminary
from jleaks.errors import InputError
from jleaks.models.forest import ForestRecipe
from jleaks.registry import Registry
from jleaks.training.fleet import Answering
from jleaks.training.learner import Members
from jleaks.training.recipe import Recipe

# One number, or several that belong together, as dropout's two ratios.
Strength = float | tuple[float, ...]

# From logits [..., K] to logits [..., K].
AnswerFn = Callable[[Float[Array, "*batch k"]], Float[Array, "*batch k"]]
# From what each part answers, posteriors [n, K] in the order of parts, to posteriors [n, K].
CombineFn = Callable[[Sequence[np.ndarray]], np.ndarray]


# Answers of one call where each takes a search.
_SEARCHES = 500


class Part(NamedTuple):
    """One of several models that answer as one.

    Attributes:
      name: What messages call it, such as "forest".
      members: [n] positions in the dataset of what it trains on.
      recipe: Of a random forest; None for a network of the defended model's own recipe.
    """

    name: str
    members: Int[np.ndarray, "members"]
    recipe: ForestRecipe | None = None


@dataclasses.dataclass(frozen=True)
class Composite:
    """Several models that answer as one.

    Attributes:
      kind: What rows call such a model, such as "stack".
      cut: From the training part [n] and key data [2] to the models, and the records of the training part
        that whatever combines them learns from.
      fit: From what each part answers about those records, their labels and K to what combines answers.
    """

    kind: str
    cut: Callable[
        [Int[np.ndarray, "members"], UInt32[np.ndarray, "2"]],
        tuple[tuple[Part, ...], Int[np.ndarray, "held"]],
    ]
    fit: Callable[[Sequence[np.ndarray], Int[np.ndarray, "held"], int], CombineFn]


@dataclasses.dataclass(frozen=True)
class Defence:
    """A defence at one strength.  One of the first three, `tailor` or `preliminary` says what it does.

    Attributes:
      answer: What happens to a model's answers: pure, from logits [..., K] to logits; None for nothing.  Of
        a model that answers posteriors it sees their logarithms.
      training: What training does differently: values of fields of `jleaks.training.learner.Members`, such
        as "dropout".  Data: models that differ in it alone train as one fleet.
      composite: The models that answer in the place of one; None for one model.
      tailor: From a model's recipe and its number of members to its `training`, where that depends on them
        (see `tailored`); None for no such.
      points: Random points about which the model itself is asked first, undefended, whatever they are for:
        the logarithms of its posteriors [points, K], flattened, stand behind the strength that `answer` is
        made with; 0 for none.
      held_back: Share of a training part that is not trained on, but compared with (`Members.reference`); a
        bank's models compare with its population instead.
      preliminary: Networks that are trained first, from whose answers this one's labels, or what `answer`
        is made with, are learned; None for none.
      searches: Whether `answer` takes a search, as long as thousands of the model's own answers.
      name: Of the entry that made it.
      strength: What it was made with.
    """

    answer: AnswerFn | None = None
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    composite: Composite | None = None
    tailor: Callable[[Recipe, int], Mapping[str, Any]] | None = None
    points: int = 0
    held_back: float = 0.0
    preliminary: Preliminary | None = None
    searches: bool = False
    name: str = ""
    strength: Strength = ()

    def __str__(self) -> str:
        return f"{self.name}:{','.join(f'{x:.9g}' for x in np.ravel(self.strength))}"

    def tailored(self, recipe: Any, num_members: int) -> "Defence":
        """Returns it with all that training does differently for one model.

        Raises:
          InputError: it cannot be had for this model.
        """
        if self.tailor is None or not isinstance(recipe, Recipe):
            return self
        training = {**self.training, **self.tailor(recipe, num_members)}
        _check_training(self.name, training)
        return dataclasses.replace(self, training=training, tailor=None)

    def trained(self) -> Any:
        """Returns what of it defines a model's weights, as JSON values; None where that is nothing."""
        found = {name: np.asarray(value).tolist() for name, value in self.training.items()}
        if self.preliminary is not None and self.preliminary.labels is not None:
            digests = DEFENCES.digests(self.name)
            found[self.name] = [*np.ravel(self.strength).tolist(), *digests.values()]
        # Alone, dropout's ratios are what fingerprints had before there were other defences.
        return found["dropout"] if found.keys() == {"dropout"} else found or None

    @property
    def of_answers_alone(self) -> bool:
        """Whether all that it does is done to answers, however the model that gave them was trained."""
        return self._trains_as_without and self.preliminary is None

    @property
    def learns_of_answers(self) -> bool:
        """Whether it is done to answers, by what is learned from answers to members and to others."""
        before = self.preliminary
        return self._trains_as_without and before is not None and before.learn is not None

    @property
    def _trains_as_without(self) -> bool:
        changes = self.training or self.composite or self.tailor
        return self.answer is not None and not changes


def _check_training(name: str, training: Mapping[str, Any]) -> None:
    if unknown := set(training) - set(Members._fields):
        raise InputError(
            f"{name} changes {', '.join(sorted(unknown))} of training, expected some of "
            f"{', '.join(Members._fields)}"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Family:
    """A defence at any strength.

    Attributes:
      name: Used in flags and rows.
      strength: What its strength is called.
      tried: Strengths, as in "NAME:STRENGTH", that a comparison takes if it is told none; perhaps none.
      make: From a strength to a `Defence`.  Where that has an `answer`, the strength may be a JAX value
        being traced: models of different strengths answer in one compiled call.
    """

    name: str
    strength: str
    tried: tuple[str, ...]
    make: Callable[[Any], Defence]

    def __call__(self, strength: Strength) -> Defence:
        """Returns the defence at one strength.

        Raises:
          InputError: it cannot be had at this strength.
        """
        values = np.ravel(np.asarray(strength, np.float64))
        if not values.size or not np.isfinite(values).all():
            raise InputError(f"{self.name}: {self.strength} is {strength}, expected finite numbers")
        made = self._made(strength)
        _check_training(self.name, made.training)
        if made.composite and made.preliminary:
            raise InputError(f"{self.name} is several models and trains others first: choose one")
        labels = made.preliminary is not None and made.preliminary.labels is not None
        if not (made.answer or made.composite or made.training or made.tailor or labels):
            raise InputError(
                f"{self.name} defends nothing: give answer, training, composite or preliminary"
            )
        exact: Strength = tuple(map(float, values)) if np.ndim(strength) else float(values[0])
        return dataclasses.replace(made, name=self.name, strength=exact)

    def apply(
        self, strength: Float[Array, "*strength"], logits: Float[Array, "*batch k"]
    ) -> Float[Array, "*batch k"]:
        """Returns what a defended model answers in the place of its logits; pure."""
        fn = self._made(strength).answer
        return logits if fn is None else fn(logits)

    def check(self, strength: Strength, num_classes: int) -> None:
        """Tries the answers on shapes alone, before anything is trained.

        Raises:
          InputError: they cannot be computed under `jax.jit`, or are no logits of K classes.
        """
        like = jax.ShapeDtypeStruct((2, num_classes), np.float32)
        number = jax.ShapeDtypeStruct(np.shape(strength), np.float32)
        made = self._made(strength)
        behind = made.points * num_classes
        if made.preliminary is not None and made.preliminary.numbers is not None:
            behind += made.preliminary.numbers(num_classes)
        if behind:
            number = jax.ShapeDtypeStruct((np.size(strength) + behind,), np.float32)
        try:
            found = jax.eval_shape(self.apply, number, like)
        except InputError:
            raise
        except Exception as error:
            said = " ".join(str(error).split())[:200]
            raise InputError(
                f"defence {self.name} cannot be applied to logits under jax.jit: "
                f"{type(error).__name__}: {said}"
            ) from error
        if not isinstance(found, jax.ShapeDtypeStruct) or found != like:
            raise InputError(
                f"defence {self.name} makes {found} of logits {like.shape} {like.dtype}, expected the same"
            )

    def _made(self, strength: Any) -> Defence:
        made = self.make(strength)
        if not isinstance(made, Defence):
            raise InputError(f"defence {self.name} returned {made!r:.40}, expected a Defence")
        return made


DEFENCES: Registry[Family] = Registry("defence", ("none",))


def defence(
    name: str, strength: str | None = None, tried: Sequence[str] = ()
) -> Callable[[Callable[[Any], Defence]], Family]:
    """Registers a function from a strength to a `Defence`.

        @defence("clipped")
        def clipped(limit):
            return Defence(answer=lambda logits: jnp.clip(logits, -limit, limit))

    Args:
      name: Used in flags and rows.
      strength: What the strength is called; None for what the function calls it.
      tried: Strengths that `jleaks defend` takes if it is told none.
    """

    def register(make: Callable[[Any], Defence]) -> Family:
        called = strength or next(iter(inspect.signature(make).parameters), "strength")
        return DEFENCES.register(name, Family(name, called, tuple(tried), make))

    return register


def get_defence(given: "Defence | tuple[str, Strength] | str") -> Defence:
    """Returns a defence: itself, one by name and strength, or by "name:strength" ("dropout:0.5,0.5").

    Raises:
      InputError: there is none of that name, or the strength cannot be read or used.
    """
    if isinstance(given, Defence):
        DEFENCES.find(given.name)
        return given
    if isinstance(given, tuple):
        name, strength = given
        return DEFENCES.find(name)(strength)
    name, separator, text = given.partition(":")
    family = DEFENCES.find(name)
    try:
        values = tuple(float(item) for item in text.split(","))
    except ValueError as error:
        what = repr(text) if separator else "missing"
        raise InputError(
            f"defence {given}: its strength ({family.strength}) is {what}, expected numbers such as "
            f"{name}:0.5"
        ) from error
    return family(values if len(values) > 1 else values[0])


@functools.cache
def _host_program(family: Family) -> Callable[[Any, Any], Any]:
    return jax.jit(lambda strength, logits: jax.nn.softmax(family.apply(strength, logits)))


def applied(
    given: Defence, posteriors: Float[np.ndarray, "records classes"]
) -> Float[np.ndarray, "records classes"]:
    """Returns what a defended model of the host answers in the place of its posteriors [n, K]."""
    if given.answer is None:
        return posteriors
    logits = np.log(np.maximum(posteriors, np.finfo(np.float32).tiny))
    strength = np.asarray(given.strength, np.float32)
    answer = _host_program(DEFENCES.find(given.name))
    if not given.searches or len(logits) <= _SEARCHES:
        return np.asarray(answer(strength, logits))
    # All of a call take as long as the longest search among them.
    padded = np.pad(logits, ((0, -len(logits) % _SEARCHES), (0, 0)), mode="edge")
    parts = np.split(padded, len(padded) // _SEARCHES)
    return np.concatenate([answer(strength, part) for part in parts])[: len(logits)]


def fleet_kind(given: Defence | None) -> tuple[tuple[str, ...], str]:
    """Returns what models of one fleet share: which training is changed, and whose answers they are."""
    if given is None:
        return ((), "")
    trained = tuple(given.training)
    if given.preliminary is not None and given.preliminary.labels is not None:
        trained = (*trained, "soft_labels")
    return (trained, given.name if given.answer is not None else "")


def answering(
    found: Sequence[Defence | None],
    points_fn: Callable[[int], Float[np.ndarray, "models points k"]] | None = None,
    learned_fn: Callable[[], Float[np.ndarray, "models numbers"]] | None = None,
) -> Answering | None:
    """Returns what happens to the answers of models of one `fleet_kind`; None for nothing.

    Args:
      found: The defence of each model.
      points_fn: From a number of random points to the models' own posteriors, where defences have `points`.
      learned_fn: Returns what was learned for each model, where defences have a `preliminary` for it.

    Raises:
      InputError: their strengths are not of one form.
    """
    defences = [given for given in found if given is not None and given.answer is not None]
    if not defences:
        return None
    if len({np.shape(given.strength) for given in defences}) > 1:
        told = " and ".join(dict.fromkeys(map(str, defences)))
        raise InputError(f"{told} are strengths of different forms, expected equally many numbers")
    strength = np.array([given.strength for given in defences], np.float32)
    behind = []
    if (count := defences[0].points) > 0:
        assert points_fn is not None, (
            "answers that need the model's own are made by experiments.answering"
        )
        behind.append(np.log(np.maximum(points_fn(count), np.finfo(np.float32).tiny)))
    before = defences[0].preliminary
    if before is not None and before.learn is not None:
        assert learned_fn is not None, "what is learned of others is made by experiments.answering"
        behind.append(learned_fn())
    if behind:
        flat = [part.reshape(len(defences), -1) for part in (strength, *behind)]
        strength = np.concatenate(flat, axis=1)
    return Answering(DEFENCES.find(defences[0].name).apply, strength, defences[0].searches)


def answered_by(given: Defence | None) -> str:
    """Returns what a defence of answers adds to the identity of a model whose weights it leaves alone."""
    if given is None or given.answer is None:
        return ""
    digest = DEFENCES.digests(given.name).get(given.name, "")
    return f", answering by {given} {digest}".rstrip()
