"""What raw scores of one target become, beside its shadow's."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jleaks.attacks.attack import Ending, Records, ShadowScores
from jleaks.attacks.bank_arrays import RECORDS, Arrays
from jleaks.attacks.options import Options
from jleaks.metrics import roc
from jleaks.metrics.bank_metrics import Lists
from jleaks.models.kernels import Kernels


class Truth(NamedTuple):
    """What is known of the records before anything is scored, targets on axis 0 of every array.

    Attributes:
      member: By role, "target" or "shadow": who is a member of its models, [T, N].
      audited: By role, where references are drawn: the records that each model is audited on, [T, N].
      lists: Members and others of every role's models, listed.
    """

    member: dict[str, Any]
    audited: dict[str, Any]
    lists: Lists


class Shared(NamedTuple):
    """What every row, one attack's scores of all records of one target, is evaluated with.

    Attributes:
      labels: [N] true classes.
      valid: [N] False for padding.
      candidate: [N] records that may be audited.
      member: As of `Truth`.
      audited: As of `Truth`.
      lists: As of `Truth`.
      kernels: What ranks them.
    """

    labels: Array
    valid: Array
    candidate: Array
    member: dict[str, Array]
    audited: dict[str, Array]
    lists: Lists
    kernels: Kernels

    @classmethod
    def of(cls, arrays: Arrays, truth: Truth, kernels: Kernels) -> "Shared":
        """Takes what a bank's arrays say of the records (`bank_arrays.RECORDS`), and who ranks them."""
        labels, valid, candidate = (arrays[name] for name in RECORDS)
        return cls(labels, valid, candidate, truth.member, truth.audited, truth.lists, kernels)

    def told(self, role: str, at: Array) -> Array:
        """The records that a role's model for target number `at` is audited on."""
        return self.audited[role][at] if role in self.audited else self.candidate

    def rank(self, role: str, row: Array, at: Array) -> roc.Ranked:
        """Ranks the scores of a role's model for target number `at`, on the records it is audited on."""
        inside, outside = (side[at] for side in self.lists.indices[role])
        told = self.told(role, at)
        return roc.rank(row, self.member[role][at], told, inside, outside, self.kernels.ranks)


def finish(
    ending: Ending, options: Options, rows: dict[str, Array], shared: Shared, num_classes: int
) -> tuple[Array, ShadowScores | None, Array]:
    """One target's scores and its shadow's, and the variant that the shadow chose (NaN without).

    Args:
      ending: What the attack does with raw scores.
      options: Parameters of attacks.
      rows: Raw scores [N], or what variants share or is learned from [C, N], by role; `at`, the target's
        number.
      shared: What all rows share.
      num_classes: K.
    """
    target: Array = rows["target"]
    shadow: Array | None = rows.get("shadow")
    records = Records(shared.labels, shared.valid, shared.candidate, num_classes, shared.kernels)
    chosen = jnp.float32(jnp.nan)
    if ending.learn is not None:
        assert shadow is not None, "an attack that learns was not refused without a shadow"
        known_member = shared.member["shadow"][rows["at"]]
        target, shadow = ending.learn(
            target, shadow, known_member, shared.told("shadow", rows["at"]), shared.kernels
        )
    if (variants := ending.variants) is not None:
        chosen = jnp.float32(variants.default(options))
        if shadow is not None:
            values = jnp.array(variants.values(options), jnp.float32)

            def quality(value: Array, parts: Array = shadow) -> Array:
                row = variants.form(parts, value)
                return roc.auc(shared.rank("shadow", row, rows["at"]))

            chosen = values[jnp.argmax(lax.map(quality, values))]
            shadow = variants.form(shadow, chosen)
        target = variants.form(target, chosen)
    if ending.finish is not None:
        target = ending.finish(target, records, options)
    if shadow is None:
        return target, None, chosen
    if ending.finish is not None:
        shadow = ending.finish(shadow, records, options)
    known = ShadowScores(
        scores=shadow,
        member=shared.member["shadow"][rows["at"]],
        ranked=shared.rank("shadow", shadow, rows["at"]),
        records=records,
    )
    if ending.relative is not None:
        target = ending.relative(target, records, known)
    return target, known, chosen


def threshold_of(ending: Ending, shadow: ShadowScores | None) -> Array:
    """The score from which a record is called a member: stated, or a shadow's; NaN where it has none."""
    if not callable(ending.threshold):
        return jnp.float32(ending.threshold)
    return jnp.float32(jnp.nan) if shadow is None else ending.threshold(shadow)


class Finished(NamedTuple):
    """What comes of a row beside its finished scores.

    Attributes:
      level: The score from which a record is called a member, NaN without one.
      variant: The form that the shadow chose, NaN without any.
      non_finite: How many scores of audited records are not finite.
      first_non_finite: The position of the first of them.
    """

    level: Array
    variant: Array
    non_finite: Array
    first_non_finite: Array


def finished(
    ending: Ending, options: Options, rows: dict[str, Array], shared: Shared, num_classes: int
) -> tuple[Array, Finished]:
    """One target's finished scores [N], and what else comes of them; see `finish` for what it takes."""
    scores, shadow, variant = finish(ending, options, rows, shared, num_classes)
    # What a share or a rank would hide is looked for in the raw scores, too.
    bad = ~jnp.isfinite(scores)
    for role in ("target", "shadow"):
        if role in rows:
            raw = ~jnp.isfinite(rows[role])
            bad = bad | (raw.any(0) if raw.ndim == 2 else raw)
    bad = bad & shared.candidate
    return scores, Finished(threshold_of(ending, shadow), variant, bad.sum(), jnp.argmax(bad))
