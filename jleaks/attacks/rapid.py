"""RAPID: a small network that weighs a record's own loss against its calibrated one (CCS 2024).

Calibration by what other models lose on the record helps for hard records and throws away what the loss
itself says of easy ones.  An attack network learns from a shadow, whose members the attacker knows, how to
weigh both: minus the loss, and by how much the OUT references lose more (He et al. 2024, arXiv 2409.00426).
The features are those of a reimplementation (zealscott/IMIA), the training that of the authors' script;
neither the paper nor their own features could be read.  Their network has 512, 256 and 128 units and
dropout, and learns for 150 epochs; two features need no such thing: this one has the attack models' 64, and
takes 1,500 steps at most, whatever the number of records.

The networks are a fleet inside the evaluator's one call: a target's shadow is one of its references, and
what is compared with the shadow leaves out the target and its twin.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jleaks.attacks.attack import Attack, plain
from jleaks.attacks.reference_statistics import ReferenceStatistics
from jleaks.keys import Role, identity_key
from jleaks.models.kernels import XLA, Kernels
from jleaks.training import epoch
from jleaks.training.learner import Data, Learner, Members
from jleaks.training.recipe import Recipe

_MOST_EPOCHS, _MOST_STEPS, _BATCH = 30, 1_500, 100
# A feature that is the same for all records stays as it is.
_LEAST_SPREAD = 1e-6


def learner_of(num_records: int, kernels: Kernels = XLA) -> Learner:
    """Returns what learns from so many records: Adam at a rate that falls to zero, 64 ReLU."""
    batch = max(1, min(_BATCH, num_records // 4))
    epochs = max(1, min(_MOST_EPOCHS, _MOST_STEPS * batch // num_records))
    recipe = Recipe("mlp", (64,), epochs, batch, 1e-2, 1e-6, schedule="cosine", activation="relu")
    # Stored features are what the network sees; none is masked.
    return Learner(recipe, "posteriors", 2, kernels=kernels)


def features(statistics: ReferenceStatistics) -> Float[Array, "2 targets records"]:
    """Minus the loss; and that less its mean over the OUT references."""
    own = statistics.log_p()
    return jnp.stack([own, own - statistics.mean_log_p("out")])


def learned(
    target: Float[Array, "2 records"],
    shadow: Float[Array, "2 records"],
    member: Bool[Array, "records"],
    told: Bool[Array, "records"],
    kernels: Kernels = XLA,
) -> tuple[Float[Array, "records"], Float[Array, "records"]]:
    """Trains a network on the shadow's records; returns the target's and the shadow's logits of "member".

    Features are standardised by the shadow's.  All networks have one key: of a target's network nothing
    depends on its place among the others.
    """
    count = told.sum()
    mean = jnp.where(told, shadow, 0).sum(1) / count
    spread = jnp.sqrt(jnp.where(told, (shadow - mean[:, None]) ** 2, 0).sum(1) / count)
    spread = jnp.where(spread > _LEAST_SPREAD, spread, 1)
    inputs, asked = ((rows.T - mean) / spread for rows in (shadow, target))
    learner = learner_of(len(member), kernels)
    # Records that tell come first, again and again where they are fewer than a batch.
    order = jnp.argsort(~told, stable=True)[jnp.arange(len(member)) % count]
    size = jnp.maximum(count, learner.recipe.batch_size)
    members = Members(order.astype(jnp.int32), size.astype(jnp.int32))
    key, data = identity_key(0, "rapid", Role.ATTACK), Data(inputs, member.astype(jnp.int32))
    state = epoch.init(learner, data, members, key, jnp.ones(2))
    epochs = jnp.int32(learner.recipe.epochs)
    state = epoch.fit(learner, data, members, key, state, jnp.int32(0), epochs)
    logits = (learner.predict(state, rows) for rows in (asked, inputs))
    found, own = (two[:, 1] - two[:, 0] for two in logits)
    return found, own


ENTRIES = (
    Attack(
        "rapid", "RAPID", "He et al. 2024", plain(features), "out", learn=learned,
    ),
)  # fmt: skip
