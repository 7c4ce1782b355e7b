"""SELENA (Tang et al. 2022): a network distilled from the answers of others that did not see the record.

Split-AI (section 3.1): every record of the training part is held out from some of several networks, which
are trained on the rest.  Self-distillation (section 3.2): the network that is published learns, on the same
records, the mean posterior of those from which each was held out, in the place of its class.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt32

from jleaks.defences.defence import Defence, defence
from jleaks.defences.preliminary import Preliminary, Told
from jleaks.errors import InputError

_MOST = 1000


@defence("selena", strength="networks, of which a record is held out from", tried=("25,10",))
def selena(strength: tuple[float, float]) -> Defence:
    """Distils the answers of networks that did not see a record.

    Args:
      strength: K networks, and from how many of them, L, every record is held out; the authors' are 25, 10.

    Raises:
      InputError: these are not whole numbers, 1 <= L < K.
    """
    values = np.ravel(strength)
    if (
        values.size != 2
        or (values != values.round()).any()
        or not 1 <= values[1] < values[0] <= _MOST
    ):
        raise InputError(
            f"SELENA's strength is {strength}, expected K networks and from how many of them a record is "
            f"held out, whole numbers with 1 <= held out < K <= {_MOST}, such as selena:25,10"
        )
    count, held = map(int, values)

    def cut(
        labels: Int[np.ndarray, "members"], key_data: UInt32[np.ndarray, "2"]
    ) -> Bool[np.ndarray, "networks members"]:
        drawn = np.random.default_rng(key_data).random((count, len(labels)))
        return drawn.argsort(axis=0).argsort(axis=0) >= held

    return Defence(preliminary=Preliminary(cut, labels=held_out_means))


def held_out_means(told: Told) -> Float[np.ndarray, "members k"]:
    """Returns of each record the mean posterior of the networks that were not trained on it."""
    weights = (~told.trained).astype(np.float32)
    weights /= weights.sum(0)
    return np.einsum("an,ank->nk", weights, told.posteriors)
