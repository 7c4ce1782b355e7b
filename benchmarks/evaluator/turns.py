"""One turn of a contender: what is timed, and how it is multiplied up to the whole bank."""

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.evaluator import contenders, peers
from benchmarks.evaluator.contenders import ATTACKS, Answers
from launch.app import start


@dataclasses.dataclass(frozen=True)
class Turn:
    """What a contender is timed on.

    Attributes:
      targets: Models attacked, the first ones of the bank.
      loop_records: Records of each that loops go through.
      peers: Directory of checkouts of public code, where there is one.
    """

    targets: range
    loop_records: int
    peers: Path | None


# `seconds` and `cpu_seconds` for the whole bank, `measured_seconds` of them, and by attack `scores`
# (of the targets, or of their first records) and `auc` (but for loops).
Found = dict[str, Any]
TimeFn = Callable[[Answers, Turn], Found]


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to evaluate.

    Attributes:
      attacks: It runs these, and is compared with jleaks running the same.
      extrapolated: How its seconds were multiplied up.
      time_fn: Runs it.
      peer: Whether it needs public code.
    """

    attacks: tuple[str, ...]
    extrapolated: str
    time_fn: TimeFn
    peer: bool = False


class _Clock:
    """Wall and processor seconds."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def read(self) -> np.ndarray:
        return np.array([time.perf_counter(), time.process_time()]) - self._began


def _timed(once: np.ndarray, each: np.ndarray, times: float) -> Found:
    """Seconds of what was done once, and of what is done `times` times as often as it was."""
    seconds, cpu = once + each * times
    measured = float(once[0] + each[0])
    return {"seconds": float(seconds), "cpu_seconds": float(cpu), "measured_seconds": measured}


def _loops(answers: Answers, turn: Turn) -> Found:
    clock = _Clock()
    loops = contenders.Loops(answers)
    once, each_record, each_target = clock.read(), np.zeros(2), np.zeros(2)
    num_models, num_records = answers.phi.shape
    records = np.arange(min(turn.loop_records, num_records))
    scores: dict[str, list[np.ndarray]] = {name: [] for name in ATTACKS}
    for target in turn.targets:
        refs, ratios = answers.references(target), loops.log_ratios(target)
        clock = _Clock()
        for name, row in loops.timed(target, records, refs, ratios).items():
            scores[name].append(row)
        each_record += clock.read()
        clock = _Clock()
        for _ in ATTACKS:
            contenders.measures(answers.phi[target], answers.member[target])
        each_target += clock.read()
    per_target = each_record * num_records / len(records) + each_target
    found = _timed(once, per_target, num_models / len(turn.targets))
    return {
        **found,
        "measured_seconds": float((once + each_record + each_target)[0]),
        "scores": scores,
    }


def _numpy(make_fn: Callable[[Answers], Any]) -> TimeFn:
    def time_fn(answers: Answers, turn: Turn) -> Found:
        clock = _Clock()
        contender = make_fn(answers)
        once = clock.read()
        scores: dict[str, list[np.ndarray]] = {name: [] for name in ATTACKS}
        aucs: dict[str, list[float]] = {name: [] for name in ATTACKS}
        clock = _Clock()
        for target in turn.targets:
            for name, row in contender.scores(target).items():
                scores[name].append(row)
                aucs[name].append(contenders.measures(row, answers.member[target])[0])
        each = clock.read()
        found = _timed(once, each, len(answers.phi) / len(turn.targets))
        return {**found, "scores": scores, "auc": aucs}

    return time_fn


def _peer(kind: type[Any]) -> TimeFn:
    def time_fn(answers: Answers, turn: Turn) -> Found:
        contender = kind(answers, turn.peers)
        clock = _Clock()
        found = [contender.measured(target) for target in turn.targets]
        timed = _timed(np.zeros(2), clock.read(), len(answers.phi) / len(turn.targets))
        scores = {name: [row[name][0] for row in found] for name in kind.attacks}
        return {
            **timed,
            "scores": scores,
            "auc": {n: [r[n][1] for r in found] for n in kind.attacks},
        }

    return time_fn


_BY_TARGET = "by targets"
_PAIRS, _SEARCH = (
    functools.partial(contenders.Vectorised, dominated=fn)
    for fn in (contenders.by_pairs, contenders.by_search)
)
CONTENDERS = {
    "loops": Contender(ATTACKS, "by targets and records", _loops),
    "numpy": Contender(ATTACKS, _BY_TARGET, _numpy(_PAIRS)),
    "numpy_search": Contender(ATTACKS, _BY_TARGET, _numpy(_SEARCH)),
    "numpy_shared": Contender(ATTACKS, _BY_TARGET, _numpy(contenders.Shared)),
} | {
    name: Contender(kind.attacks, _BY_TARGET, _peer(kind), peer=True)
    for name, kind in (("lira_authors", peers.LiraAuthors), ("privacy_meter", peers.PrivacyMeter))
}


def time_jleaks(answers: Answers, turn: Turn, names: tuple[str, ...]) -> Found:
    """Times the evaluator on all models, the first call and the second; and its peak memory.

    Scores and AUC are kept of the turn's targets alone.
    """
    from jleaks.training.execution import Execution

    start(Execution())
    from jleaks.attacks.bank import Bank
    from jleaks.attacks.evaluate_bank import evaluate, scores
    from jleaks.attacks.options import Options
    from jleaks.attacks.references import References, assign
    from jleaks.attacks.registry import get_attacks
    from jleaks.training.fleet import make_mesh

    num_models, num_records = answers.phi.shape
    bank = Bank(
        answers.phi[None],
        answers.member,
        np.zeros(num_records, np.int32),
        2,
        np.zeros(num_records, bool),
        phi_t=answers.phi_t,
        twins=True,
    )
    attacks, options = get_attacks(list(names)), Options(contenders.GAMMA, contenders.OFFLINE_A)
    references, mesh = assign(bank)[0], make_mesh()
    clock = _Clock()
    evaluate(bank, attacks, references, None, mesh, options)
    first = clock.read()[0]
    clock = _Clock()
    metrics = evaluate(bank, attacks, references, None, mesh, options)
    seconds, cpu = clock.read().tolist()
    peak = harness.peak_megabytes()
    targets = np.array(turn.targets)
    few = References(references.targets[targets], references.models[targets], num_models)
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "measured_seconds": seconds,
        "compile_seconds": max(0.0, first - seconds),
        "peak_megabytes": peak,
        "scores": scores(bank, attacks, few, None, options),
        "auc": {
            a.name: row[targets] for a, row in zip(attacks, np.asarray(metrics.auc), strict=True)
        },
    }
