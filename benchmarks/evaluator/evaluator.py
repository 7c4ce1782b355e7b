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
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
from absl import flags

from benchmarks.evaluator import contenders
from benchmarks.evaluator.turns import CONTENDERS, Turn, peak_megabytes, time_jleaks
from benchmarks.harness import WHAT, WHERE, append, command, machine, spread
from jleaks.errors import InputError
from launch.flags import run, use_all_cores

_MODELS = flags.DEFINE_integer(
    "num_models", 256, "Models of the bank, even.", lower_bound=6, **WHAT
)
_RECORDS = flags.DEFINE_integer(
    "num_records", 50_000, "Records of the bank, even.", lower_bound=20, **WHAT
)
_TARGETS = flags.DEFINE_integer(
    "num_targets",
    4,
    "Targets that others than jleaks are timed on.",
    lower_bound=1,
    **WHAT,
)
_LOOP_RECORDS = flags.DEFINE_integer(
    "loop_records", 2_000, "Records that loops are timed on.", lower_bound=1, **WHAT
)
_REPETITIONS = flags.DEFINE_integer(
    "repetitions", 3, "Turns of every contender.", lower_bound=1, **WHAT
)
_PEERS = flags.DEFINE_string("peers", None, "Checkouts of public code.", **WHERE)
_OUT = flags.DEFINE_string("out", None, "JSON lines to append to.", **WHERE)
_CONTENDER = flags.DEFINE_string(
    "contender", None, "Time this one alone, in this process (used by the benchmark itself).",
    **WHERE,
)  # fmt: skip
_FOUND = flags.DEFINE_string(
    "found", None, "With --contender: where to leave what it found.", **WHERE
)

# Scores of jleaks (float32) and the others may differ by so much, relative to 1 or the score.
SCORE_TOLERANCE = 0.02
AUC_TOLERANCE = 2e-4
# Public code has no floor under variances, and a population of its own for RMIA.
PEER_AUC_TOLERANCE = 0.02


def _work(name: str, path: Path) -> int:
    """Times one contender in this process and leaves what it found in two files."""
    answers = contenders.synthetic(_MODELS.value, _RECORDS.value)
    turn = Turn(
        range(min(_TARGETS.value, _MODELS.value)),
        _LOOP_RECORDS.value,
        Path(_PEERS.value) if _PEERS.value else None,
    )
    if name.startswith("jleaks:"):
        found = time_jleaks(answers, turn, tuple(name.removeprefix("jleaks:").split("+")))
    elif name in CONTENDERS:
        found = CONTENDERS[name].time_fn(answers, turn)
    else:
        raise InputError(f"unknown contender {name!r}; allowed: {', '.join(CONTENDERS)}")
    found.setdefault("peak_megabytes", peak_megabytes())
    arrays = {
        f"{kind} {attack}": np.asarray(rows, np.float64)
        for kind in ("scores", "auc")
        for attack, rows in found.pop(kind, {}).items()
    }
    np.savez(path.with_suffix(".npz"), **cast(Any, arrays))
    path.write_text(json.dumps(found))
    return 0


def _run(name: str, folder: str) -> dict[str, Any]:
    """Runs one contender in a process of its own."""
    path = Path(folder) / "found.json"
    sizes = {f.name: f.value for f in (_MODELS, _RECORDS, _TARGETS, _LOOP_RECORDS)}
    command = [f"--{flag}={value}" for flag, value in sizes.items()]
    command += [f"--contender={name}", f"--found={path}"]
    command += [f"--peers={_PEERS.value}"] if _PEERS.value else []
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.evaluator", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"{name} failed: {last.removeprefix('error: ')}")
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


def _row(
    name: str, runs: dict[str, list[dict[str, Any]]], ours: dict[str, str], before: dict[str, Any]
) -> dict[str, Any]:
    """Returns the row of one contender."""
    from jleaks.training.execution import Execution
    from jleaks.training.reporter import provenance

    mine, is_jleaks = runs[name], name not in CONTENDERS
    attacks = name.removeprefix("jleaks:").split("+") if is_jleaks else CONTENDERS[name].attacks
    row: dict[str, Any] = {
        "benchmark": "evaluator",
        "contender": "jleaks" if is_jleaks else name,
        "attacks": list(attacks),
        "num_models": _MODELS.value,
        "num_records": _RECORDS.value,
        "measured_targets": _MODELS.value if is_jleaks else min(_TARGETS.value, _MODELS.value),
        "measured_records": min(_LOOP_RECORDS.value, _RECORDS.value)
        if name == "loops"
        else _RECORDS.value,
        "extrapolated": "no" if is_jleaks else CONTENDERS[name].extrapolated,
    }
    for key in ("seconds", "cpu_seconds", "measured_seconds", "peak_megabytes"):
        row[key] = spread([found[key] for found in mine])
    if is_jleaks:
        row["compile_seconds"] = spread([found["compile_seconds"] for found in mine])
    else:
        against = runs[ours[name]]
        pairs = list(zip(mine, against, strict=True))
        row["times_jleaks"] = spread([a["seconds"] / b["seconds"] for a, b in pairs])
        row["largest_difference"] = differences(name, mine[0]["arrays"], against[0]["arrays"])
    about = provenance(None, Execution())
    sizes = (_MODELS, _RECORDS, _TARGETS, _LOOP_RECORDS, _REPETITIONS)
    shown = command("benchmarks.evaluator", sizes)
    return {**row, "turns": len(mine), "command": shown, **before, **about}


def main(_: list[str]) -> int:
    if _CONTENDER.value:
        if _FOUND.value is None:
            raise InputError("--contender needs --found")
        return _work(_CONTENDER.value, Path(_FOUND.value))
    if _MODELS.value % 2 or _RECORDS.value % 2:
        raise InputError("--num_models and --num_records must be even: models come in twins")
    from benchmarks.evaluator.table import evaluator_table
    from launch.log import console

    use_all_cores()
    names = [n for n, c in CONTENDERS.items() if _PEERS.value or not c.peer]
    ours = {n: "jleaks:" + "+".join(CONTENDERS[n].attacks) for n in names}
    before = machine()
    runs: dict[str, list[Any]] = {name: [] for name in [*dict.fromkeys(ours.values()), *names]}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(_REPETITIONS.value):
            for name, found in runs.items():
                found.append(_run(name, folder))
                print(f"turn {turn + 1}, {name}: {found[-1]['seconds']:.1f} s", flush=True)
    rows = [_row(name, runs, ours, before) for name in runs]
    output = console()
    output.print(evaluator_table(rows).to_rich(output))
    append(_OUT.value, rows)
    if _OUT.value:
        output.print(f"wrote {_OUT.value}", highlight=False)
    return 0


if __name__ == "__main__":
    run(main, "python -m benchmarks.evaluator", __doc__ or "")
