"""One call: shadows of the owner's own kind, every attack that they allow, and what it all means."""

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jleaks.attacks.registry import ATTACKS, get_attacks
from jleaks.auditing import risk
from jleaks.auditing.answers import Signals, asked, is_asked, make_bank, read_answers, signals_of
from jleaks.auditing.attacks import Attacked, attack
from jleaks.auditing.cost import CostPoint, cost_curve
from jleaks.auditing.fleet import train_fleet
from jleaks.auditing.records import Records, code_digest, read_records, take
from jleaks.auditing.shadows import (
    FitFn,
    PredictFn,
    Shadows,
    fit_once,
    memberships,
    seed_globally,
    train_shadows,
)
from jleaks.auditing.verdict import ERROR, Verdict, judge
from jleaks.errors import InputError
from jleaks.fingerprint import fingerprint
from jleaks.metrics.epsilon import DELTA, epsilon_one_run, epsilon_over_thresholds
from jleaks.metrics.intervals import Interval
from jleaks.metrics.operating_points import tpr_of_scores
from jleaks.models.own_network import load_network, register_network
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import provenance

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found about one model; every number is that model's own.

    Attributes:
      records: What was audited.
      attacked: Scores of every attack.
      verdict: The level of risk, and why.
      rows: One per attack: its metrics on the audited model, with intervals over records.
      called: Of the strongest attack, by false-positive rate, whom a threshold set on shadows calls.
      p: [N] p-values of the strongest attack's scores; None without shadows.
      cost: What the strongest attack finds with fewer shadows; empty without shadows.
      epsilon: Lower bounds of the strongest attack: "thresholds" and "one run".
      num_shadows: How many shadow models there were.
      train_accuracy: Of the audited model on members.
      test_accuracy: Of the audited model on non-members.
      seconds: By stage.
      about: What was audited how: fingerprint, versions, device, seed.
      notes: What a reader must be told.
    """

    records: Records
    attacked: Attacked
    verdict: Verdict
    rows: list[Row]
    called: dict[float, risk.Called]
    p: np.ndarray | None
    cost: list[CostPoint]
    epsilon: dict[str, float]
    num_shadows: int
    train_accuracy: float
    test_accuracy: float
    seconds: dict[str, float]
    about: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def strongest(self) -> str:
        """Name of the attack that an attacker would choose."""
        return self.attacked.strongest

    @property
    def scores(self) -> np.ndarray:
        """[N] the strongest attack's scores of the audited model's records."""
        return self.attacked.scores[self.strongest].target

    @property
    def audited(self) -> np.ndarray:
        """[N] the records that the model is judged on."""
        return self.attacked.audited

    def tpr(self, fpr: float = 0.01) -> Interval:
        """Returns the strongest attack's TPR at a false-positive rate, with its 95% interval."""
        at = self.audited
        return tpr_of_scores(self.scores[at], self.records.member[at], fpr)

    def at_risk(self) -> np.ndarray:
        """Returns [N] which members stand out after control of the false-discovery rate at 5%."""
        found = np.zeros(self.records.num_records, bool)
        if self.p is not None:
            inside = np.flatnonzero(self.records.member & self.audited)
            found[inside] = risk.at_risk(self.p[inside])
        return found

    def parts(self) -> dict[str, list[risk.Part]]:
        """Returns the strongest attack on every class and group, at the shadows' threshold for 1% FPR."""
        if not self.called:
            return {}
        at, threshold = self.audited, self.called[0.01].threshold
        of = {"class": self.records.classes[self.records.labels].astype(str), **self.records.groups}
        return {
            name: risk.by_part(self.scores[at], self.records.member[at], values[at], threshold)
            for name, values in of.items()
        }

    def record_rows(self) -> list[Row]:
        """Returns one row per audited record, the likeliest members first."""
        flagged = self.at_risk()
        order = np.flatnonzero(self.audited)
        order = order[np.argsort(-self.scores[order], kind="stable")]
        ids = self.records.ids.tolist()
        return [
            {
                "rank": rank,
                "id": ids[i],
                "label": str(self.records.classes[self.records.labels[i]]),
                "member": bool(self.records.member[i]),
                "score": float(self.scores[i]),
                "p": None if self.p is None else float(self.p[i]),
                "at_risk": bool(flagged[i]),
                **{name: str(values[i]) for name, values in self.records.groups.items()},
            }
            for rank, i in enumerate(order.tolist(), 1)
        ]


def audit(
    data: Any = None,
    labels: Any = None,
    member: Any = None,
    *,
    fit: FitFn | None = None,
    predict: PredictFn | None = None,
    network: Any = None,
    recipe: Recipe | None = None,
    target: Any = None,
    answers: Any = None,
    shadow_answers: Sequence[tuple[Any, Any]] = (),
    num_shadows: int = 64,
    ids: Any = None,
    groups: Mapping[str, Any] | None = None,
    attacks: Sequence[str] = ("all",),
    seed: int = 0,
    delta: float = DELTA,
    num_processes: int | None = None,
    workdir: str | os.PathLike[str] | None = None,
    execution: Execution | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Audit:
    """Audits a model: trains shadows as its owner would, attacks it with them, and judges.

    How models of this kind are trained and asked, `fit` and `predict` say, or it is a flax `network`, whose
    shadows train side by side as a fleet; or `answers` (and perhaps `shadow_answers`) are what models have
    answered already.

    Args:
      data: N records: arrays, data frames, lists; what `fit` and `predict` take.
      labels: [N] true classes: whole numbers, names, or one-hot rows.
      member: [N] booleans, or positions: which records the audited model was trained on.
      fit: (records, labels) -> model; called with `seed` or `random_state` too if it takes one.
      predict: (model, records) -> posteriors [N, K], those of the second of two classes [N], or labels [N].
      network: A flax module's class, linen or nnx, as "nets.py:Net" or by its registered name.
      recipe: How networks are trained; their `model` is `network`.
      target: The audited model, as `fit` returns it; None to have `fit` train it on the members.
      answers: What the audited model answered about all records, in place of `target`; or what is asked
        about them: a function of the records, or a black box such as `jleaks.endpoint(url)`.
      shadow_answers: For each shadow that is there already, (what it answered, [N] what it trained on).
      num_shadows: How many shadows `fit` trains, at least 4; 0 for none.
      ids: [N] what a reader calls each record; positions by default.
      groups: By name, [N] the group of each record, for risk per group.
      attacks: Names of attacks to try; all by default.
      seed: Of the audit: who is trained on what.
      delta: Of the (epsilon, delta) whose epsilon is bounded.
      num_processes: How many shadows train at once; None for one a core.
      execution: How fast networks train.
      workdir: Where the shadows' answers, or networks, are kept, so that a stopped audit goes on; None for
        nowhere.
      tell: Receives lines of progress.

    Raises:
      InputError: names everything that cannot be used, before any training.
    """
    if labels is None or member is None:
        raise InputError("labels and member are needed: true classes, and who was trained on")
    chosen, told = get_attacks(list(attacks)), list[str]()
    if is_asked(answers):
        # Before anything is paid for.
        unasked = read_records(data, labels, member, ids, groups)
        _check(unasked, fit, predict, network, target, answers, shadow_answers, num_shadows)
        answers, told = asked(answers, data)
    columns = np.shape(answers)[1:] if answers is not None else ()
    records = read_records(
        data, labels, member, ids, groups, columns[0] if columns and columns[0] > 2 else None
    )
    _check(records, fit, predict, network, target, answers, shadow_answers, num_shadows)
    seconds: dict[str, float] = {}
    tick = time.monotonic()
    if network is not None:
        whole = dataclasses.replace(recipe or Recipe(), model=_network(network))
        own, shadows, notes = _fleet(
            records, whole, answers, num_shadows, workdir, seed, execution, tell
        )
    else:
        given, names, notes = _target_answers(records, fit, predict, target, answers, seed)
        own = signals_of(read_answers(given, names, records, "the audited model"), records.labels)
        seconds["target"] = time.monotonic() - tick
        shadows = _shadows(
            records, fit, predict, shadow_answers, num_shadows, workdir, seed, num_processes, tell
        )
    seconds["shadows"] = shadows.seconds
    tick = time.monotonic()
    bank = make_bank(own, shadows.signals, shadows.member, records)
    tell(f"{len(chosen)} attacks with {len(shadows.signals)} shadow models")
    attacked = attack(bank, chosen)
    found = judged(records, attacked, bank.member[1:], delta)
    cost = cost_curve(bank, attacked.strongest, shadows.seconds) if shadows.signals else []
    seconds["attacks"] = time.monotonic() - tick
    correct = own["correct"]
    return Audit(
        records=records,
        attacked=attacked,
        **found,
        cost=cost,
        num_shadows=len(shadows.signals),
        train_accuracy=float(correct[records.member].mean()),
        test_accuracy=float(correct[~records.member].mean()),
        seconds=seconds,
        about={
            "seed": seed,
            "delta": delta,
            "num_trained": shadows.num_trained,
            **provenance(
                fingerprint(
                    "audit", records.digest(), records.member, seed, code_digest(fit, predict)
                ),
                Execution(),
            ),
        },
        notes=(*told, *notes, *attacked.notes),
    )


def _check(
    records: Records,
    fit: FitFn | None,
    predict: PredictFn | None,
    network: Any,
    target: Any,
    answers: Any,
    shadow_answers: Sequence[Any],
    num_shadows: int,
) -> None:
    """Refuses combinations that say nothing, or two things."""
    found = []
    if (fit is None) != (predict is None) and target is None:
        found.append("fit and predict are given together, or neither")
    if answers is not None and target is not None:
        found.append("target and answers are given, expected one of them")
    if answers is None and predict is None and network is None:
        found.append("nothing answers: give fit and predict, a network, or answers")
    if network is not None and (fit is not None or predict is not None):
        found.append("a network and fit or predict are given, expected one of them")
    if network is not None and target is not None:
        found.append("the audited network is known by what it answered: give answers, not target")
    trains = fit is not None or network is not None
    if trains and records.data is None:
        found.append(f"{'fit' if network is None else 'a network'} needs data")
    if trains and not shadow_answers and num_shadows and num_shadows < 4:
        found.append(f"num_shadows is {num_shadows}, expected 0 or at least 4")
    if shadow_answers and len(shadow_answers) < 4:
        found.append(f"{len(shadow_answers)} shadows have answered, expected at least 4")
    if found:
        raise InputError("; ".join(found))


def _network(network: Any) -> str:
    """Returns the name of a network, which is registered if it is not yet."""
    if isinstance(network, str):
        return load_network(network) if ":" in network else network
    name = str(getattr(network, "__name__", type(network).__name__))
    register_network(name, network)
    return name


def _fleet(
    records: Records,
    recipe: Recipe,
    answers: Any,
    num_shadows: int,
    workdir: str | os.PathLike[str] | None,
    seed: int,
    execution: Execution | None,
    tell: Callable[[str], None],
) -> tuple[Signals, Shadows, list[str]]:
    """Trains networks as a fleet: shadows, and the audited one unless it has answered."""
    member, notes = memberships(records.member, num_shadows, seed), []
    if answers is None:
        notes.append("no answers were given: the audited network was trained on the members")
        member = np.concatenate([records.member[None], member])
    with tempfile.TemporaryDirectory() as scratch:
        found = train_fleet(
            records, recipe, member, workdir or scratch, seed=seed, execution=execution, tell=tell
        )
    signals = found.signals
    if answers is None:
        own, signals, member = signals[0], signals[1:], member[1:]
    else:
        own = signals_of(read_answers(answers, None, records, "answers"), records.labels)
        notes.append(
            "the audited network is known by posteriors, its shadows by logits: where it is all but "
            "certain, its answers are told apart less finely than theirs, which weakens attacks"
        )
    return own, Shadows(member, signals, found.seconds, found.num_trained), notes


def _target_answers(
    records: Records,
    fit: FitFn | None,
    predict: PredictFn | None,
    target: Any,
    answers: Any,
    seed: int,
) -> tuple[Any, np.ndarray | None, list[str]]:
    """Returns what the audited model answered, what it calls its columns, and what must be said of it."""
    if answers is not None:
        return answers, None, []
    assert predict is not None
    notes = []
    if target is None:
        assert fit is not None
        notes.append("no target was given: the audited model was trained by fit, on the members")
        rows = np.flatnonzero(records.member)
        own_seed = seed_globally(seed, 2**31 - 1)
        target = _called(
            "fit",
            lambda: fit_once(fit, take(records.data, rows), records.own_labels(rows), own_seed),
        )
    given = _called("predict", lambda: predict(target, records.data))
    if hasattr(given, "detach"):
        given = given.detach().cpu()
    names = getattr(target, "classes_", None)
    return np.asarray(given), None if names is None else np.asarray(names), notes


def _called(what: str, fn: Callable[[], Any]) -> Any:
    """Calls the owner's code; what it raises becomes one line."""
    try:
        return fn()
    except InputError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise InputError(f"{what} raised {type(error).__name__}: {said}") from error


def _shadows(
    records: Records,
    fit: FitFn | None,
    predict: PredictFn | None,
    shadow_answers: Sequence[tuple[Any, Any]],
    num_shadows: int,
    workdir: str | os.PathLike[str] | None,
    seed: int,
    num_processes: int | None,
    tell: Callable[[str], None],
) -> Shadows:
    """Trains shadows, or reads what shadows have answered."""
    if shadow_answers:
        signals, members = [], []
        for i, (given, trained_on) in enumerate(shadow_answers):
            whose = f"shadow {i}"
            posteriors = read_answers(given, None, records, whose)
            signals.append(signals_of(posteriors, records.labels))
            flags = np.asarray(trained_on)
            if flags.shape != (records.num_records,):
                raise InputError(
                    f"{whose}: member has shape {flags.shape}, expected one for each of "
                    f"{records.num_records} records"
                )
            members.append(flags.astype(bool))
        return Shadows(np.stack(members), signals, 0.0, 0)
    if fit is None or predict is None or not num_shadows:
        return Shadows(np.zeros((0, records.num_records), bool), [], 0.0, 0)
    with tempfile.TemporaryDirectory() as scratch:
        return train_shadows(
            fit,
            predict,
            records,
            num_shadows,
            Path(workdir or scratch),
            seed=seed,
            num_processes=num_processes,
            tell=tell,
        )


def judged(
    records: Records, attacked: Attacked, shadow_member: np.ndarray, delta: float
) -> dict[str, Any]:
    """Computes all that is told of the scores: verdict, rows, called, p and epsilon of an `Audit`.

    Args:
      records: What was audited.
      attacked: Scores of every attack.
      shadow_member: [S, N] which records each shadow was trained on.
      delta: Of the (epsilon, delta) whose epsilon is bounded.
    """
    at = attacked.audited
    member = records.member[at]
    rows = [_row(name, attacked, records) for name in attacked.scores]
    rows.sort(key=lambda row: -row["auc"]["mean"])
    best = attacked.scores[attacked.strongest]
    scores = best.target[at].astype(np.float64)
    called, p = {}, None
    if best.shadows is not None and attacked.shadows_audited is not None:
        outsiders = risk.pooled_outsiders(best.shadows, shadow_member, attacked.shadows_audited)
        called = {fpr: risk.called(scores, member, outsiders, fpr) for fpr in risk.FPRS}
        p = risk.p_values(best.target, outsiders)
    bounds = {
        "thresholds": epsilon_over_thresholds(scores, member, delta).epsilon,
        "one run": epsilon_one_run(scores, member, delta).epsilon,
    }
    sizes = int(member.sum()), int((~member).sum())
    lifts = {
        # Without shadows no threshold is set beforehand.
        fpr: risk.lift(called[fpr], *sizes, ERROR)
        if called
        else tpr_of_scores(scores, member, fpr, 1 - 2 * ERROR).low / fpr
        for fpr in risk.FPRS
    }
    verdict = judge(
        lifts,
        epsilon_one_run(scores, member, delta, 1 - ERROR).epsilon,
        {fpr: risk.smallest_visible(*sizes, fpr, ERROR) for fpr in risk.FPRS},
    )
    return {"verdict": verdict, "rows": rows, "called": called, "p": p, "epsilon": bounds}


def _row(name: str, attacked: Attacked, records: Records) -> Row:
    """Returns one attack's metrics on the audited model."""
    at = attacked.audited
    scores, member = attacked.scores[name].target[at].astype(np.float64), records.member[at]
    found: Row = {
        "attack": name,
        "title": ATTACKS[name].title,
        "source": ATTACKS[name].source,
        "strongest": name == attacked.strongest,
        "strength_on_shadows": _number(attacked.strength[name]),
        "auc": _interval(risk.auc(scores, member)),
        "num_members": int(member.sum()),
        "num_nonmembers": int((~member).sum()),
    }
    for fpr in risk.FPRS:
        found[f"tpr_at_fpr_{fpr}"] = _interval(tpr_of_scores(scores, member, fpr))
    return found


def _interval(interval: Interval) -> dict[str, float | None]:
    return {name: _number(getattr(interval, name)) for name in ("mean", "low", "high")}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
