"""Model stacking as a defence (Salem et al. 2019, section VII-B); the algorithm is in `models.stacking`."""

from collections.abc import Sequence

import numpy as np

from jleaks.defences.defence import CombineFn, Composite, Defence, Part, defence
from jleaks.errors import refuse
from jleaks.models.forest import ForestRecipe
from jleaks.models.stacking import Combiner, CombinerRecipe, thirds


def stack(c: float, forest: ForestRecipe) -> Composite:
    """Returns a stack of a network, a forest and a combiner, each on a third of the training part.

    Args:
      c: Inverse strength of the combiner's penalty (see `jleaks.models.stacking.CombinerRecipe`).
      forest: Of the second base model.

    Raises:
      InputError: `c` is not above zero.
    """
    combiner = CombinerRecipe(c=c)
    refuse(combiner.problems("combiner"))

    def cut(members: np.ndarray, key_data: np.ndarray) -> tuple[tuple[Part, ...], np.ndarray]:
        parts = thirds(members, key_data)
        return (
            (Part("network", parts.network), Part("forest", parts.forest, forest)),
            parts.combiner,
        )

    def fit(answers: Sequence[np.ndarray], labels: np.ndarray, num_classes: int) -> CombineFn:
        network, trees = answers
        fitted = Combiner.fit(network, trees, labels, num_classes, combiner)
        return lambda parts: fitted.posteriors(parts[0], parts[1])

    return Composite("stack", cut, fit)


@defence("stacking", strength="c", tried=("100",))
def stacking(c: float) -> Defence:
    """Answers by a stack, its forest grown as usual."""
    return Defence(composite=stack(c, ForestRecipe()))
