"""Attacks on the target's answer alone, and thresholds per class."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jleaks.attacks.attack import Attack, Records, ShadowScores, plain, stored
from jleaks.attacks.reference_statistics import ReferenceStatistics
from jleaks.metrics import sorting
from jleaks.metrics.roc import GAIN_ROUNDING


def correctness(statistics: ReferenceStatistics) -> Array:
    """1 where the prediction is right, the gap attack (Yeom et al. 2018, section 3.2)."""
    return statistics.own("correct", 0).astype(jnp.float32)


def confidence(statistics: ReferenceStatistics) -> Array:
    """Posterior of the true class."""
    return jax.nn.sigmoid(statistics.own("phi", 0))


def loss(statistics: ReferenceStatistics) -> Array:
    """Minus the cross-entropy (Yeom et al. 2018, adversary 2)."""
    return statistics.log_p()


def label_only(statistics: ReferenceStatistics) -> Array:
    """Share of queries answered with the true label (Choquette-Choo et al. 2021, section 4)."""
    queries = range(statistics.num_queries)
    return jnp.stack([statistics.own("correct", q) for q in queries]).mean(0, dtype=jnp.float32)


def mean_member_score(shadow: ShadowScores) -> Array:
    """The threshold of Yeom et al. 2018: minus the mean loss of training records, a shadow's."""
    mine = shadow.member & shadow.records.candidate
    return jnp.where(mine, shadow.scores, 0).sum() / mine.sum()


def above_class_thresholds(
    scores: Float[Array, "records"], records: Records, shadow: ShadowScores
) -> Float[Array, "records"]:
    """How far a target's scores are above the threshold of each record's class, a shadow's."""
    theirs = shadow.records
    found = class_thresholds(
        *(shadow.scores, theirs.labels, shadow.member, theirs.candidate),
        *(records.num_classes, records.kernels.order),
    )
    return scores - found[records.labels]


def class_thresholds(
    scores: Float[Array, "records"],
    labels: Int[Array, "records"],
    member: Bool[Array, "records"],
    valid: Bool[Array, "records"],
    num_classes: int,
    order_fn: Callable[[Array], Array] = jnp.argsort,
) -> Float[Array, "classes"]:
    """Per class, the score that tells one model's members from its non-members best.

    Song & Mittal 2021, section 3.2: the value that maximises balanced accuracy within the class with
    the rule "member if score >= value"; of equal maxima the highest value.  A class without
    members or without non-members gets the threshold of all classes together.

    Args:
      scores: Of the shadow model, [N].
      labels: True classes.
      member: The shadow's membership.
      valid: Records that take part.
      num_classes: K.
      order_fn: From words to the positions that sort them, ties by position.
    """
    best, usable = _best_by_class(scores, labels, member, valid, num_classes, order_fn)

    def overall() -> Array:
        return _best_by_class(scores, jnp.zeros_like(labels), member, valid, 1, order_fn)[0][0]

    # Another sort of all records, which few banks need.
    return jnp.where(usable, best, lax.cond(usable.all(), lambda: jnp.float32(0), overall))


def _best_by_class(
    scores: Array,
    labels: Array,
    member: Array,
    valid: Array,
    num_classes: int,
    order_fn: Callable[[Array], Array],
) -> tuple[Array, Array]:
    """Every class's threshold with one order by class and falling score; and where there is one."""
    group = jnp.where(valid, labels, num_classes)
    falling = order_fn(sorting.words(-scores))
    at = falling[order_fn(group[falling].astype(jnp.uint32))]
    group, falling, code = group[at], -scores[at], member[at]
    is_member, is_other = (group < num_classes) & code, (group < num_classes) & ~code
    tp, fp = jnp.cumsum(is_member), jnp.cumsum(is_other)
    edges = jnp.searchsorted(group, jnp.arange(num_classes + 1))
    tp_at, fp_at = (jnp.concatenate([jnp.zeros(1, c.dtype), c])[edges] for c in (tp, fp))
    positives, negatives = jnp.diff(tp_at), jnp.diff(fp_at)
    mine = jnp.minimum(group, num_classes - 1)
    ends = jnp.append((falling[1:] != falling[:-1]) | (group[1:] != group[:-1]), True)
    gain = (tp - tp_at[mine]) / jnp.maximum(positives[mine], 1) - (fp - fp_at[mine]) / jnp.maximum(
        negatives[mine], 1
    )
    gain = jnp.where(ends & (group < num_classes), gain, -jnp.inf)
    top = jax.ops.segment_max(gain, group, num_classes + 1)
    first = jnp.where(gain >= top[group] - GAIN_ROUNDING, jnp.arange(len(gain)), len(gain) - 1)
    at = jax.ops.segment_min(first, group, num_classes + 1)[:num_classes]
    return -falling[at], (positives > 0) & (negatives > 0)


_YEOM = "Yeom et al. 2018"
_SONG = "Song & Mittal 2021"

ENTRIES = (
    Attack(
        "correctness", "Correctness (gap)", _YEOM, plain(correctness),
        signals=("correct",), threshold=0.5,
    ),
    Attack(
        "maximum", "Maximum posterior", "Salem et al. 2019",
        stored("maximum"), labels=False, signals=("maximum",),
    ),
    Attack(
        "entropy", "Entropy", "Salem et al. 2019", stored("entropy"), labels=False, signals=("entropy",),
    ),
    Attack("confidence", "Confidence", _YEOM, plain(confidence)),
    Attack("loss", "Loss", _YEOM, plain(loss), threshold=mean_member_score),
    Attack("modified_entropy", "Modified entropy", _SONG, stored("mentr"), signals=("mentr",)),
    Attack(
        "class_thresholds", "Class thresholds", _SONG, stored("mentr"), signals=("mentr",),
        relative=above_class_thresholds, threshold=0.0,
    ),
    Attack(
        "label_only", "Label only", "Choquette-Choo et al. 2021", plain(label_only),
        queries="all", signals=("correct",),
    ),
)  # fmt: skip
