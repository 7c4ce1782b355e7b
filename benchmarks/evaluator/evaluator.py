"""How fast is the evaluator of banks?  Beside per-record loops, NumPy and public code, on the same answers.

python -m benchmarks.evaluator --out=results/bank/evaluator.jsonl
python -m benchmarks.evaluator --peers=DIR --out=results/bank/evaluator.jsonl

Seven attacks, AUC and TPR on every model of a synthetic bank.  Contenders take turns (A B A B), each time
in a process of its own, so that peak memory and compilation are its own.  Only jleaks attacks all models;
the others are timed on a few targets, loops also on a few records, and multiplied up: targets and
records are equal work.  DIR holds checkouts `privacy` (of tensorflow) and `ml_privacy_meter` (of
privacytrustlab), which are imported from there.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks import harness
from benchmarks.evaluator import contenders
from benchmarks.evaluator.turns import CONTENDERS, Turn, time_jleaks
from benchmarks.harness import OUT, Command, Flag, Layout, Row, where
from jleaks.errors import InputError
from jleaks.report.table import Table
from launch.app import use_all_cores

_SIZES = ("num_models", "num_records", "num_targets", "loop_records")
COMMAND = Command(
    "benchmarks.evaluator",
    __doc__,
    (*_SIZES, "repetitions"),
    num_models=Flag("Models of the bank, even.", 256, 6, even=True),
    num_records=Flag("Records of the bank, even.", 50_000, 20, even=True),
    num_targets=Flag("Targets that others than jleaks are timed on.", 4, 1),
    loop_records=Flag("Records that loops are timed on.", 2_000, 1),
    repetitions=Flag("Turns of every contender.", 3, 1),
    peers=where("Checkouts of public code."),
    out=OUT,
    contender=where("Time this one alone, in this process (used by the benchmark itself)."),
    found=where("With --contender: where to leave what it found."),
)

# Scores of jleaks (float32) and the others may differ by so much, relative to 1 or the score.
SCORE_TOLERANCE = 0.02
AUC_TOLERANCE = 2e-4
# Public code has no floor under variances, and a population of its own for RMIA.
PEER_AUC_TOLERANCE = 0.02


def _work(name: str, path: Path) -> int:
    """Times one contender in this process and leaves what it found in two files."""
    answers = contenders.synthetic(COMMAND.num_models, COMMAND.num_records)
    turn = Turn(
        range(min(COMMAND.num_targets, COMMAND.num_models)),
        COMMAND.loop_records,
        Path(COMMAND.peers) if COMMAND.peers else None,
    )
    if name.startswith("jleaks:"):
        found = time_jleaks(answers, turn, tuple(name.removeprefix("jleaks:").split("+")))
    else:
        harness.check_names("contender", [name], list(CONTENDERS))
        found = CONTENDERS[name].time_fn(answers, turn)
    found.setdefault("peak_megabytes", harness.peak_megabytes())
    arrays = {
        f"{kind} {attack}": np.asarray(rows, np.float64)
        for kind in ("scores", "auc")
        for attack, rows in found.pop(kind, {}).items()
    }
    np.savez(path.with_suffix(".npz"), **cast(Any, arrays))
    path.write_text(json.dumps(found))
    return 0


def _run(name: str, folder: str) -> Row:
    """Runs one contender in a process of its own."""
    path = Path(folder) / "found.json"
    flags = [f"--{flag}={getattr(COMMAND, flag)}" for flag in _SIZES]
    flags += [f"--peers={COMMAND.peers}"] if COMMAND.peers else []
    try:
        COMMAND.child(*flags, f"--contender={name}", f"--found={path}")
    except InputError as error:
        raise InputError(f"{name} failed: {error}") from error
    with np.load(path.with_suffix(".npz")) as arrays:
        return {**json.loads(path.read_text()), "arrays": dict(arrays)}


def differences(
    name: str, theirs: dict[str, np.ndarray], ours: dict[str, np.ndarray]
) -> dict[str, float | None]:
    """Returns the largest differences from jleaks, of scores and of AUC, and checks them.

    Args:
      name: The contender.
      theirs: By "scores ATTACK" [targets, records] and "auc ATTACK" [targets]; loops have only the
        first records, and no AUC.
      ours: The same of jleaks.

    Returns:
      `score`, relative to 1 or the score, None for public code, whose scores are scaled otherwise;
      `auc`, None for loops.

    Raises:
      InputError: they are larger than rounding explains.
    """
    peer = CONTENDERS[name].peer
    allowed = {"scores": SCORE_TOLERANCE, "auc": PEER_AUC_TOLERANCE if peer else AUC_TOLERANCE}
    found: dict[str, float] = {}
    for key, values in theirs.items():
        kind, attack = key.split()
        if peer and kind == "scores":
            continue
        expected = ours[key][:, : values.shape[1]] if kind == "scores" else ours[key]
        scale = np.maximum(1, np.abs(expected)) if kind == "scores" else 1
        apart = float((np.abs(values - expected) / scale).max())
        if not apart <= allowed[kind]:
            raise InputError(f"{name} and jleaks differ by {apart:.4g} in the {kind} of {attack}")
        found[kind] = max(found.get(kind, 0.0), apart)
    return {"score": found.get("scores"), "auc": found.get("auc")}


def _row(name: str, runs: dict[str, list[Row]], ours: dict[str, str], about: Row) -> Row:
    """Returns the row of one contender."""
    mine, is_jleaks = runs[name], name not in CONTENDERS
    attacks = name.removeprefix("jleaks:").split("+") if is_jleaks else CONTENDERS[name].attacks
    models, records = COMMAND.num_models, COMMAND.num_records
    row: Row = {
        "benchmark": "evaluator",
        "contender": "jleaks" if is_jleaks else name,
        "attacks": list(attacks),
        "num_models": models,
        "num_records": records,
        "measured_targets": models if is_jleaks else min(COMMAND.num_targets, models),
        "measured_records": min(COMMAND.loop_records, records) if name == "loops" else records,
        "extrapolated": "no" if is_jleaks else CONTENDERS[name].extrapolated,
    }
    for key in ("seconds", "cpu_seconds", "measured_seconds", "peak_megabytes"):
        row[key] = harness.spread([found[key] for found in mine])
    if is_jleaks:
        row["compile_seconds"] = harness.spread([found["compile_seconds"] for found in mine])
    else:
        against = runs[ours[name]]
        pairs = list(zip(mine, against, strict=True))
        row["times_jleaks"] = harness.spread([a["seconds"] / b["seconds"] for a, b in pairs])
        row["largest_difference"] = differences(name, mine[0]["arrays"], against[0]["arrays"])
    return {**row, "turns": len(mine), **about}


TITLES = {
    "jleaks": "jleaks",
    "loops": "Per-record loops",
    "numpy": "NumPy, RMIA by pairs",
    "numpy_search": "NumPy, RMIA by search",
    "numpy_shared": "NumPy, work of all targets shared",
    "lira_authors": "LiRA's authors' code",
    "privacy_meter": "ML Privacy Meter",
}


_LAYOUT = Layout(
    "Seven attacks on {num_models} models and {num_records:,} records",
    "Medians over {turns} turns (least-largest) on {cores} cores of {cpu}, commit {commit}.  Seconds "
    "without compilation.  Extrapolated: seconds of {measured} targets (and so many records) times all.  "
    "Times: of jleaks on the same attacks, turn by turn.  Largest differences from jleaks: of scores, "
    "relative to 1 or the score, and of AUC.  NumPy of one target uses masks and sorts; with shared work "
    "it does what jleaks does.  LiRA's authors' code: their two-sided form offline.  ML Privacy Meter: "
    "gamma 1, a population of 1,000.",
    [
        ("Contender", lambda row: TITLES[row["contender"]]),
        ("Attacks", lambda row: str(len(row["attacks"]))),
        ("Extrapolated", "{extrapolated}"),
        ("Seconds", harness.ranged("seconds", ",.2f")),
        ("CPU\nseconds", "{cpu_seconds[median]:,.1f}"),
        ("Compilation", "{compile_seconds[median]:.1f}", "-"),
        ("Peak MB", "{peak_megabytes[median]:,.0f}"),
        ("Times\njleaks", harness.ranged("times_jleaks", ",.1f"), "1"),
        ("Score\ndifference", "{largest_difference[score]:.0e}", "-"),
        ("AUC\ndifference", "{largest_difference[auc]:.0e}", "-"),
    ],
    num_text_columns=3,
)


def evaluator_table(rows: Sequence[Row]) -> Table:
    """Returns the table of one run."""
    others = (row["measured_targets"] for row in rows if row["contender"] != "jleaks")
    return _LAYOUT.table(rows, measured=next(others, 0))


def main() -> int:
    if COMMAND.contender:
        if COMMAND.found is None:
            raise InputError("--contender needs --found")
        return _work(COMMAND.contender, Path(COMMAND.found))
    use_all_cores()
    from jleaks.training.execution import Execution

    names = [n for n, c in CONTENDERS.items() if COMMAND.peers or not c.peer]
    ours = {n: "jleaks:" + "+".join(CONTENDERS[n].attacks) for n in names}
    before = harness.machine()
    with tempfile.TemporaryDirectory() as folder:
        every = [*dict.fromkeys(ours.values()), *names]
        runs = harness.take_turns(
            COMMAND.repetitions,
            every,
            lambda name, _: _run(name, folder),
            lambda name, found: f"{name}: {found['seconds']:.1f} s",
        )
    about = COMMAND.about(before, Execution())
    rows = [_row(name, runs, ours, about) for name in runs]
    return COMMAND.finish(rows, evaluator_table(rows))
