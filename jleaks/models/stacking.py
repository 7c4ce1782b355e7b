"""Model stacking: three learners on disjoint thirds of the training part, so that none fits it all.

Salem et al. 2019, section VII-B: a neural network learns from the first part and a random forest from
the second; a logistic regression, the *combiner*, learns from the third part, of which it sees what the
two base models answer.  The stack answers the combiner's posteriors.

Who is a member: a record is a member of the stack if it is in ANY of the three parts, since each of them
moved what the stack answers.  The stack's members are those of the undefended model, its whole training
part, and attacks on both are evaluated on the same records.

The file holds what is particular to the defence and pure: the cut and the combiner.  The network is one
of a fleet's models, the forest comes from `jleaks.models.forest`; both learn from their own part alone,
statistics of their encodings included.
"""

import dataclasses
import warnings
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt32

from jleaks.errors import InputError, refuse
from jleaks.fields import Count, Positive, problems


class Thirds(NamedTuple):
    """Three disjoint parts that make up a training part; positions in the dataset.

    Attributes:
      network: [n - 2 (n // 3)] what the neural network learns from.
      forest: [n // 3] what the random forest learns from.
      combiner: [n // 3] what the logistic regression learns from.
    """

    network: Int[np.ndarray, "network"]
    forest: Int[np.ndarray, "third"]
    combiner: Int[np.ndarray, "third"]


def thirds(members: Int[np.ndarray, "members"], key_data: UInt32[np.ndarray, "2"]) -> Thirds:
    """Cuts a training part at random into three disjoint parts.

    Args:
      members: [n] distinct positions of the training part in the dataset, without padding.
      key_data: Key data of the stack, from which the order is drawn.

    Raises:
      InputError: a member repeats, or there are fewer than three.
    """
    n = len(members)
    if n < 3:
        raise InputError(f"a training part of {n} records was to be cut into three parts")
    if len(np.unique(members)) < n:
        raise InputError(
            f"of {n} members only {len(np.unique(members))} are distinct, expected every record once"
        )
    order = np.random.default_rng(key_data).permutation(members)
    first = n - 2 * (n // 3)
    return Thirds(order[:first], order[first : first + n // 3], order[first + n // 3 :])


@dataclasses.dataclass(frozen=True)
class CombinerRecipe:
    """How the logistic regression is fitted (scikit-learn's L-BFGS, in float64).

    Attributes:
      c: Inverse strength of the L2 penalty: the loss is c times the summed cross-entropy plus half
        the sum of squared weights (biases excluded).  1 is scikit-learn's default.  Inputs are
        posteriors, mostly near zero, so that penalty is heavy where a third has few records of a
        class: the stack then answers more evenly, and less accurately, than at larger c.  Show its
        accuracy beside what it hides.
      max_iter: Iterations at most.
    """

    c: Positive = 1.0
    max_iter: Count = 1000

    def problems(self, what: str) -> list[str]:
        """Returns one sentence per value that cannot be fitted with."""
        return problems(self, what)


@dataclasses.dataclass(frozen=True, eq=False)
class Combiner:
    """A multinomial logistic regression on the posteriors of two base models.

    Attributes:
      regression: scikit-learn's; its classes are those that occurred in the third part.
      num_classes: K.
    """

    regression: Any
    num_classes: int

    @classmethod
    def fit(
        cls,
        first: Float[np.ndarray, "records k"],
        second: Float[np.ndarray, "records k"],
        labels: Int[np.ndarray, "records"],
        num_classes: int,
        recipe: CombinerRecipe = CombinerRecipe(),
    ) -> "Combiner":
        """Fits the combiner; deterministic, so it needs no key.

        Args:
          first: [n, K] what the network answers to the third part.
          second: [n, K] what the forest answers to it.
          labels: [n] in 0..K-1.
          num_classes: K.
          recipe: How.

        Raises:
          InputError: answers or labels do not fit K classes, fewer than two classes occur, the
            recipe cannot be used or does not converge, or scikit-learn is not installed.
        """
        found = recipe.problems("combiner")
        for name, answers in (("first", first), ("second", second)):
            found += _answer_problems(name, answers, num_classes)
        if len(np.unique(labels)) < 2:
            found.append(
                f"the combiner's {len(labels)} records are of {len(np.unique(labels))} classes, "
                "expected at least 2"
            )
        elif labels.min() < 0 or labels.max() >= num_classes:
            found.append(
                f"labels are {labels.min()}..{labels.max()}, expected 0..{num_classes - 1}"
            )
        refuse(found)
        try:
            from sklearn.exceptions import ConvergenceWarning
            from sklearn.linear_model import LogisticRegression
        except ImportError as error:
            raise InputError(
                f"model stacking needs scikit-learn ({error}): pip install jleaks[datasets]"
            ) from error
        regression = LogisticRegression(C=recipe.c, solver="lbfgs", max_iter=recipe.max_iter)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            # A hundred classes stay classes where there are only a hundred records.
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            try:
                regression.fit(_inputs(first, second), labels)
            except ConvergenceWarning as warning:
                raise InputError(
                    f"the combiner has not converged after {recipe.max_iter} iterations at c "
                    f"{recipe.c}: raise max_iter or lower c"
                ) from warning
        return cls(regression, num_classes)

    def posteriors(
        self, first: Float[np.ndarray, "batch k"], second: Float[np.ndarray, "batch k"]
    ) -> Float[np.ndarray, "batch k"]:
        """Answers the stack's posteriors [B, K] float32.

        A class that the third part lacked has posterior 0.

        Args:
          first: [B, K] what the network answers.
          second: [B, K] what the forest answers.

        Raises:
          InputError: answers do not fit K classes.
        """
        found = [
            problem
            for name, base in (("first", first), ("second", second))
            for problem in _answer_problems(name, base, self.num_classes)
        ]
        refuse(found)
        answers = np.zeros((len(first), self.num_classes), np.float32)
        if len(first):
            answers[:, self.regression.classes_] = self.regression.predict_proba(
                _inputs(first, second)
            )
        return answers


def _inputs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[B, 2K] float64: in float32 the line search of L-BFGS can end before the optimum."""
    return np.concatenate([first, second], axis=1).astype(np.float64)


def _answer_problems(name: str, answers: np.ndarray, num_classes: int) -> list[str]:
    """Returns one sentence if a base model's answers cannot be combined."""
    if answers.ndim != 2 or answers.shape[1] != num_classes:
        return [
            f"the {name} base model answered {answers.shape}, expected (records, {num_classes})"
        ]
    if not np.isfinite(answers).all():
        return [f"the {name} base model's answers are not all finite"]
    return []
