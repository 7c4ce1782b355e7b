"""Every attack on a bank: its score, and what an attacker must have to run it."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array

from jleaks.attacks import baseline, bavaria, calibration, lira, rmia
from jleaks.attacks.options import Options
from jleaks.attacks.reference_statistics import ReferenceStatistics
from jleaks.errors import InputError

Needs = Literal["none", "out", "in and out"]


# What happens to a target's raw scores once all its records have one.
Finish = Literal["none", "share of all", "share of population", "class thresholds"]
# Where the threshold for precision and recall comes from.
Threshold = Literal["shadow", "one half", "mean member loss", "zero"]


@dataclasses.dataclass(frozen=True)
class Variants:
    """Forms of one attack: the one with the largest AUC on a shadow, whose membership the attacker knows.

    Attributes:
      values: From the options to the number of each form.
      default: From the options to the form where there is no shadow.
      form: From what the forms share [C, N] and the number of one to raw scores [N], of one target.
      names: What numbers are called in rows, if not by themselves.
    """

    values: Callable[[Options], tuple[float, ...]]
    default: Callable[[Options], float]
    form: Callable[[Array, Array], Array]
    names: tuple[str, ...] | None = None

    def name(self, value: float) -> str | float:
        """Returns what one form is called in rows."""
        return round(float(value), 6) if self.names is None else self.names[int(value)]


@dataclasses.dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
      name: Used in flags and rows.
      title: Used in tables and figures.
      source: Where it was published.
      score: From the statistics to raw scores [T, N], larger for likelier members; with `variants`, to
        what its forms share [C, T, N].
      references: Which references it needs: none, OUT, or IN and OUT.
      labels: Whether it must know a record's true class.
      queries: "one" query per record or "all" that the bank has.
      signals: Arrays that the bank must have besides phi.
      finish: What turns raw scores into scores.
      threshold: Where its threshold comes from; "shadow": the value that maximises balanced
        accuracy when the same attack is run on a shadow model.
      variants: Forms among which a shadow decides, for each target.
    """

    name: str
    title: str
    source: str
    score: Callable[[ReferenceStatistics, Options], Array]
    references: Needs = "none"
    labels: bool = True
    queries: Literal["one", "all"] = "one"
    signals: tuple[str, ...] = ()
    finish: Finish = "none"
    threshold: Threshold = "shadow"
    variants: Variants | None = None


def _stored(name: str) -> Callable[[ReferenceStatistics, Options], Array]:
    return lambda statistics, _: statistics.own(name)


def _lira(
    fn: Callable[..., Array], kind: lira.Variance | None = None, several: bool = False
) -> Callable[[ReferenceStatistics, Options], Array]:
    if kind is None:
        return lambda statistics, _: lira.both(fn, statistics, several)
    return lambda statistics, _: fn(statistics, kind, several)


# LiRA's two variances.  A shadow needs more than one reference; without it one variance is all there is.
_VARIANCES = Variants(
    values=lambda _: (0.0, 1.0),
    default=lambda _: 1.0,
    form=lambda parts, value: jnp.where(value == 0, parts[0], parts[1]),
    names=lira.VARIANCES,
)

# The grid of the authors' code.
_OFFLINE_A = Variants(
    values=lambda options: (
        tuple(round(0.1 * i, 1) for i in range(11))
        if options.offline_a is None
        else (options.offline_a,)
    ),
    default=lambda options: options.published_a if options.offline_a is None else options.offline_a,
    form=rmia.log_ratio_offline,
)


def _plain(
    fn: Callable[[ReferenceStatistics], Array],
) -> Callable[[ReferenceStatistics, Options], Array]:
    return lambda statistics, _: fn(statistics)


_CARLINI = "Carlini et al. 2022"
_ZARIFZADEH = "Zarifzadeh et al. 2024"
_LASSILA = "Lassila et al. 2025"
_BRANNVALL = "Brännvall 2026"
_SONG = "Song & Mittal 2021"
_YEOM = "Yeom et al. 2018"
_YE = "Ye et al. 2022"
_BOTH: Needs = "in and out"

_ALL = (
    Attack(
        "correctness", "Correctness (gap)", _YEOM, _plain(baseline.correctness),
        signals=("correct",), threshold="one half",
    ),
    Attack(
        "maximum", "Maximum posterior", "Salem et al. 2019",
        _stored("maximum"), labels=False, signals=("maximum",),
    ),
    Attack(
        "entropy", "Entropy", "Salem et al. 2019", _stored("entropy"), labels=False, signals=("entropy",),
    ),
    Attack("confidence", "Confidence", _YEOM, _plain(baseline.confidence)),
    Attack("loss", "Loss", _YEOM, _plain(baseline.loss), threshold="mean member loss"),
    Attack("modified_entropy", "Modified entropy", _SONG, _stored("mentr"), signals=("mentr",)),
    Attack(
        "class_thresholds", "Class thresholds", _SONG, _stored("mentr"), signals=("mentr",),
        finish="class thresholds", threshold="zero",
    ),
    Attack(
        "attack_p", "Attack-P", _YE, lambda e, _: e.own("phi", 0),
        finish="share of population",
    ),
    Attack(
        "label_only", "Label only", "Choquette-Choo et al. 2021", _plain(baseline.label_only),
        queries="all", signals=("correct",),
    ),
    Attack(
        "quantile", "Quantile regression", "Bertran et al. 2023",
        lambda e, _: e.own("phi", 0) - e.own("quantile"), signals=("quantile",),
    ),
    Attack("attack_r", "Attack-R", _YE, _plain(calibration.attack_r), "out"),
    Attack(
        "attack_r_logit", "Attack-R, linear and logit", f"{_YE}, code",
        _plain(calibration.attack_r_logit), "out",
    ),
    Attack("attack_r_share", "Attack-R, share", _YE, _plain(calibration.attack_r_share), "out"),
    Attack(
        "calibrated", "Calibrated loss", "Watson et al. 2022", _plain(calibration.calibrated), "out",
    ),
    Attack(
        "lira_offline", "LiRA offline", _CARLINI, _lira(lira.offline), "out", variants=_VARIANCES,
    ),
    Attack(
        "lira_offline_record", "LiRA offline, per-record variance", _CARLINI,
        _lira(lira.offline, "record"), "out",
    ),
    Attack(
        "lira_offline_global", "LiRA offline, global variance", _CARLINI,
        _lira(lira.offline, "global"), "out",
    ),
    Attack(
        "lira_offline_two_sided", "LiRA offline, two-sided", f"{_CARLINI}, code",
        _lira(lira.offline_two_sided), "out", variants=_VARIANCES,
    ),
    Attack(
        "lira_offline_queries", "LiRA offline, all queries", _CARLINI,
        _lira(lira.offline, several=True), "out", queries="all", variants=_VARIANCES,
    ),
    Attack(
        "rmia_offline", "RMIA offline", _ZARIFZADEH,
        _plain(rmia.log_ratio_parts), "out",
        signals=("phi_t",), finish="share of all", variants=_OFFLINE_A,
    ),
    Attack("base_offline", "BASE offline", _LASSILA, _plain(rmia.base_offline), "out"),
    Attack(
        "base_offline_tempered", "BASE offline, tempered", f"{_LASSILA}, code",
        lambda e, o: rmia.base_offline(e, "phi_t", o.base_scale), "out", signals=("phi_t",),
    ),
    Attack("bavaria_offline", "BaVarIA offline", _BRANNVALL, _plain(bavaria.offline), "out"),
    Attack("lira_online", "LiRA online", _CARLINI, _lira(lira.online), _BOTH, variants=_VARIANCES),
    Attack(
        "lira_online_record", "LiRA online, per-record variance", _CARLINI, _lira(lira.online, "record"),
        _BOTH,
    ),
    Attack(
        "lira_online_global", "LiRA online, global variance", _CARLINI, _lira(lira.online, "global"), _BOTH,
    ),
    Attack(
        "lira_online_queries", "LiRA online, all queries", _CARLINI,
        _lira(lira.online, several=True), _BOTH, queries="all", variants=_VARIANCES,
    ),
    Attack(
        "rmia_online", "RMIA online", _ZARIFZADEH, lambda e, _: rmia.log_ratio_online(e), _BOTH,
        signals=("phi_t",), finish="share of all",
    ),
    Attack("base_online", "BASE online", _LASSILA, _plain(rmia.base_online), _BOTH),
    Attack(
        "base_online_tempered", "BASE online, tempered", f"{_LASSILA}, code",
        lambda e, _: rmia.base_online(e, "phi_t"), _BOTH, signals=("phi_t",),
    ),
    Attack("bavaria", "BaVarIA-t", _BRANNVALL, _plain(bavaria.student), _BOTH),
    Attack("bavaria_gaussian", "BaVarIA-n", _BRANNVALL, _plain(bavaria.gaussian), _BOTH),
)  # fmt: skip

ATTACKS: dict[str, Attack] = {attack.name: attack for attack in _ALL}


def get_attacks(names: list[str]) -> list[Attack]:
    """Returns attacks by name, or all of them for ["all"], in registry order.

    Raises:
      InputError: there is no such attack.
    """
    if names == ["all"]:
        return list(ATTACKS.values())
    for name in names:
        if name not in ATTACKS:
            raise InputError(f"unknown attack {name!r}; allowed: all, {', '.join(ATTACKS)}")
    return [attack for attack in ATTACKS.values() if attack.name in names]
