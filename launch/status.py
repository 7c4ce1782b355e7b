"""Tells what a run is doing, or what it has finished, and how it continues; from its files alone.

Of launch.sweep, launch.paper, launch.bank or launch.audit: the plan, models kept and in training, the last
checkpoint, results; of one that works, what it is doing and the time that its fleet still needs.

Example: python -m launch.status --run=checkpoints/main
"""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import flags

from jleaks import heartbeat, npz
from jleaks.errors import InputError
from jleaks.fields import whole_number

from .app import WHERE, run

# `jleaks status DIR` is `jleaks status --run=DIR`.
POSITIONAL = "run"

_RUN = flags.DEFINE_string(
    "run", None, "Directory of the run: its --workdir, or an audit's --out_dir.", module_name=WHERE
)

# Files that a run writes last; each says that what is beside it has finished.
_RESULTS = ("rows.jsonl", "bank.npz", "audit.json", "summary.jsonl")


def main(_: list[str]) -> int:
    """Prints the lines."""
    if _RUN.value is None:
        raise InputError("--run names the directory of a run, as in jleaks status checkpoints/main")
    folder = Path(_RUN.value)
    if not folder.is_dir():
        raise InputError(f"{folder} is no directory; expected the --workdir of a run")
    found = list(lines(folder, time.time()))
    if not found:
        found = _below(folder)
    if not found:
        raise InputError(
            f"{folder} has nothing of a run: no plan.json, no {heartbeat.FILE}, no models and no results"
        )
    print("\n".join(found))
    return 0


def _below(folder: Path) -> list[str]:
    """Returns the lines of runs in a directory's folders: launch.bank makes one for each task."""
    found: list[str] = []
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        own = list(lines(inner, time.time())) if (inner / "plan.json").exists() else []
        found += [f"{inner.name}:", *(f"  {line}" for line in own)] if own else []
    return found


def lines(folder: Path, now: float) -> Iterator[str]:
    """Returns what the files of a run say, one sentence a line.

    Args:
      folder: Its directory.
      now: Seconds since the epoch.
    """
    plan = _json(folder / "plan.json")
    if plan:
        yield f"plan {plan.get('fingerprint', '?')}: {_plan_text(plan.get('plan', {}))}"
    yield from _results(folder, now)
    yield from _models(folder, now)
    beat = heartbeat.read(folder)
    finished = any((folder / name).exists() for name in _RESULTS)
    if beat is None:
        if finished:
            yield "state: finished"
        elif plan:
            files = [*folder.glob("fleets/*.seconds.json"), *folder.glob("models/*.npz")]
            newest = max((path.stat().st_mtime for path in files), default=None)
            sign = "" if newest is None else f"; last sign of life {_span(now - newest)} ago"
            yield f"state: not finished, begun by an earlier version without a heartbeat{sign}"
        return
    yield from _state(beat, heartbeat.state(beat, now), now)


def _state(beat: Mapping[str, Any], state: str, now: float) -> Iterator[str]:
    ago = _span(now - float(beat.get("at", now)))
    began = _span(float(beat.get("at", now)) - float(beat.get("began", now)))
    if state == "running":
        yield f"state: running for {began} (process {beat.get('pid')}, heartbeat {ago} ago)"
        if beat.get("doing"):
            yield f"doing: {beat['doing']}"
        if beat.get("total"):
            yield (
                f"training: {beat['fleet']}, {beat['done']} of {beat['total']} model-epochs "
                f"({100 * beat['done'] / beat['total']:.0f}%), loss {beat['loss']:.4f}, about "
                f"{_span(beat['eta'])} to go for this fleet"
                + (f", {_span(beat['run_eta'])} for all" if beat.get("run_eta") else "")
            )
    else:
        words = {
            "finished": f"finished {ago} ago, after {began}",
            "stopped": f"stopped by a signal {ago} ago; everything so far is kept",
            "failed": f"failed {ago} ago, after {began}",
            "died": f"died: no heartbeat for {ago}, and no word of an end; what was saved is kept",
        }
        yield f"state: {words.get(state, state)}"
    if said := beat.get("said"):
        yield f"last line: {' '.join(str(said).split())}"
    if command := beat.get("command"):
        verb = {"running": "stop it with Ctrl-C; it continues with", "finished": "shown again by"}
        yield f"{verb.get(state, 'continue with')}: {command}"


def _plan_text(plan: Mapping[str, Any]) -> str:
    """Returns tasks, seeds or models, and epochs of a plan."""
    recipe = plan.get("target") or plan.get("recipe") or {}
    parts = []
    if isinstance(tasks := plan.get("tasks"), list):
        seeds = plan.get("seeds") or [1] * len(tasks)
        each = (f"{task} ({seed})" for task, seed in zip(tasks, seeds, strict=False))
        parts.append(f"tasks (seeds) {', '.join(each)}")
    elif task := plan.get("task"):
        parts.append(f"{plan.get('num_models', '?')} models of {task}")
    if epochs := recipe.get("epochs"):
        parts.append(f"{epochs} epochs")
    parts += [f"{name} {plan[name]}" for name in ("scale", "source") if name in plan]
    return ", ".join(parts) or "no plan that this version knows"


def _results(folder: Path, now: float) -> Iterator[str]:
    """Returns what has finished: results beside the plan, and experiments in folders of their own."""
    for name in _RESULTS:
        if (path := folder / name).exists():
            yield f"results: {path}, written {_span(now - path.stat().st_mtime)} ago"
    audit = _json(folder / "audit.json")
    if audit.get("lead"):
        yield f"audit: leak {audit.get('level')}; {audit['lead']}"
    done = [path.parent.name for path in folder.glob("*/rows.jsonl")]
    if done:
        yield f"experiments finished: {', '.join(sorted(done, key=_natural))}"
    if shadows := len(list(folder.glob("shadows/*.npz"))):
        yield f"shadow models kept: {shadows}"


def _natural(name: str) -> tuple[str, int]:
    stem = name.rstrip("0123456789")
    return stem, whole_number(name[len(stem) :]) or 0


def _models(folder: Path, now: float) -> Iterator[str]:
    """Returns what is trained and what is in training, by the library's files."""
    kept: Counter[str] = Counter()
    for path in sorted(folder.glob("models/*.fleet.npz")):
        try:
            _, meta = npz.load(path, "", only=())
            kept.update(_task(str(model["name"])) for model in meta["models"])
        except (InputError, KeyError, TypeError):
            yield f"damaged: {path}; the run will say what to do"
    if single := len([p for p in folder.glob("models/*.npz") if ".fleet." not in p.name]):
        kept["in files of their own"] = single
    if kept:
        each = ", ".join(f"{count} {name}" for name, count in kept.items())
        yield f"models kept: {kept.total()} ({each})"
    for path in sorted(folder.glob("fleets/*/")):
        named = (whole_number(step.name) for step in path.iterdir())
        steps = [step for step in named if step is not None]
        if steps:
            age = _span(now - (path / str(max(steps))).stat().st_mtime)
            yield f"in training: a fleet at {max(steps)} model-epochs, checkpoint saved {age} ago"
        else:
            yield "in training: a fleet without a checkpoint yet"


def _task(name: str) -> str:
    """Returns what a model is of: "target model of location, seed 0" is one "target model of location"."""
    return name.partition(",")[0]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _span(seconds: float) -> str:
    """Returns "12 s", "3 min" or "5.2 h"."""
    if seconds < 120:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    run(main, "python -m launch.status", __doc__ or "", POSITIONAL)
