"""The main job: train targets and shadows of many tasks and seeds, run the three adversaries.

Without --data_dir the tasks are synthetic stand-ins.  Interrupt it anywhere: the same command continues
where it stopped; once it has finished, the same command prints the results again.
"""

import sys
import time
from typing import Any, cast

from absl import flags
from rich.console import Console

from jleaks import engine, report
from jleaks.datasets.registry import TASKS, get_task
from jleaks.errors import InputError
from jleaks.plan import ATTACK_RECIPE, Execution, Plan, Recipe
from jleaks.preemption import Preempted
from jleaks.trainer import DivergedError, Progress
from launch.flags import run, use_all_cores

_WHERE = "Where"
_WHAT = "What is measured (defines the numbers)"
_SPEED = "Speed only"

_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Datasets prepared by launch.prepare; without it the synthetic stand-ins are used.",
    module_name=_WHERE,
)
_WORKDIR = flags.DEFINE_string(
    "workdir", "checkpoints/sweep", "Directory of this run.", module_name=_WHERE
)

_TASKS = flags.DEFINE_list(
    "tasks", ["all"], f"all, or some of {', '.join(TASKS)}.", module_name=_WHAT
)
_NUM_SEEDS = flags.DEFINE_integer(
    "num_seeds", 5, "Independent repetitions (split, weights, order).", module_name=_WHAT
)
_TASK_SEEDS = flags.DEFINE_list(
    "task_seeds", [], "Exceptions to --num_seeds, such as cifar10=1,mnist=3.", module_name=_WHAT
)
_SCALE = flags.DEFINE_float(
    "scale", 1.0, "Fraction of the paper's records per part.", module_name=_WHAT
)
_RECIPE = Recipe()
_EPOCHS = flags.DEFINE_integer(
    "epochs", _RECIPE.epochs, "Of targets and shadows.", module_name=_WHAT
)
_BATCH = flags.DEFINE_integer(
    "batch_size", _RECIPE.batch_size, "Of targets and shadows.", module_name=_WHAT
)
_RATE = flags.DEFINE_float(
    "learning_rate", _RECIPE.learning_rate, "Adam's, of targets and shadows.", module_name=_WHAT
)
_L2 = flags.DEFINE_float("l2", _RECIPE.l2, "Penalty on squared weights.", module_name=_WHAT)
_PRECISION = flags.DEFINE_enum(
    "precision",
    _RECIPE.precision,
    ["float32", "default"],
    "Of matrix products; default is the backend's fast path (TF32 on GPUs).",
    module_name=_WHAT,
)
_ATTACK_EPOCHS = flags.DEFINE_integer(
    "attack_epochs", ATTACK_RECIPE.epochs, "Of attack models.", module_name=_WHAT
)
_ATTACK_BATCH = flags.DEFINE_integer(
    "attack_batch_size", ATTACK_RECIPE.batch_size, "Of attack models.", module_name=_WHAT
)
_ATTACK_RATE = flags.DEFINE_float(
    "attack_learning_rate", ATTACK_RECIPE.learning_rate, "Of attack models.", module_name=_WHAT
)
_TOP = flags.DEFINE_integer("top", 3, "Largest posteriors an attack model sees.", module_name=_WHAT)
_ADVERSARIES = flags.DEFINE_list(
    "adversaries", ["1", "2", "3"], "Some of 1, 2, 3.", module_name=_WHAT
)
_POINTS = flags.DEFINE_integer(
    "num_random_points", 1000, "Queries for adversary 3's threshold.", module_name=_WHAT
)
_PERCENTILE = flags.DEFINE_float(
    "percentile", 10.0, "Adversary 3: top percent of random points.", module_name=_WHAT
)
_MEMBERSHIP = flags.DEFINE_enum(
    "membership",
    "true",
    ["true", "shuffled"],
    "shuffled is the null check: membership is drawn by a coin and every attack must fail.",
    module_name=_WHAT,
)

_DEVICES = flags.DEFINE_integer(
    "num_devices", None, "Devices to use; default all.", module_name=_SPEED
)
_PER_CALL = flags.DEFINE_integer(
    "models_per_call", None, "Models one call advances; default chosen.", module_name=_SPEED
)
_PER_VMAP = flags.DEFINE_integer(
    "models_per_vmap",
    None,
    "Models of a device that advance in one instruction; default chosen.",
    module_name=_SPEED,
)
_PER_BLOCK = flags.DEFINE_integer(
    "records_per_block",
    None,
    "Records whose activations are alive at once; default chosen.",
    module_name=_SPEED,
)
_CONVOLUTION = flags.DEFINE_enum(
    "convolution",
    None,
    ["native", "im2col", "rows", "products"],
    "How convolutions are computed; default chosen by backend.",
    module_name=_SPEED,
)
_CHUNK = flags.DEFINE_float(
    "chunk_seconds", 3.0, "Aim for the length of one call.", module_name=_SPEED
)
_CHECKPOINT = flags.DEFINE_float(
    "checkpoint_seconds", 60.0, "Least time between checkpoints of a fleet.", module_name=_SPEED
)


def make_plan() -> Plan:
    """Returns the plan that the flags describe.

    Raises:
      InputError: a flag's value cannot be read.
    """
    names = list(TASKS) if _TASKS.value == ["all"] else [get_task(n).name for n in _TASKS.value]
    names = sorted(set(names), key=list(TASKS).index)
    seeds = dict.fromkeys(names, _NUM_SEEDS.value)
    for item in _TASK_SEEDS.value:
        name, _, count = item.partition("=")
        if name not in seeds or not count.isdigit():
            raise InputError(f"--task_seeds has {item!r}, expected TASK=COUNT with a chosen task")
        seeds[name] = int(count)
    if not all(a in ("1", "2", "3") for a in _ADVERSARIES.value):
        raise InputError(f"--adversaries is {','.join(_ADVERSARIES.value)}, expected 1, 2, 3")
    return Plan(
        tasks=tuple(names),
        seeds=tuple(seeds[name] for name in names),
        source="synthetic" if _DATA_DIR.value is None else "prepared",
        scale=_SCALE.value,
        target=Recipe(
            epochs=_EPOCHS.value,
            batch_size=_BATCH.value,
            learning_rate=_RATE.value,
            l2=_L2.value,
            precision=cast(Any, _PRECISION.value),
        ),
        attack=Recipe(
            hidden=ATTACK_RECIPE.hidden,
            epochs=_ATTACK_EPOCHS.value,
            batch_size=_ATTACK_BATCH.value,
            learning_rate=_ATTACK_RATE.value,
            l2=ATTACK_RECIPE.l2,
        ),
        top=_TOP.value,
        adversaries=tuple(int(a) for a in sorted(set(_ADVERSARIES.value))),
        num_random_points=_POINTS.value,
        percentile=_PERCENTILE.value,
        membership=cast(Any, _MEMBERSHIP.value),
    ).validate()


def make_execution() -> Execution:
    """Returns the execution that the flags describe."""
    return Execution(
        num_devices=_DEVICES.value,
        models_per_call=_PER_CALL.value,
        models_per_vmap=_PER_VMAP.value,
        records_per_block=_PER_BLOCK.value,
        convolution=cast(Any, _CONVOLUTION.value),
        chunk_seconds=_CHUNK.value,
        checkpoint_seconds=_CHECKPOINT.value,
    ).validate()


class _Log:
    """Progress as plain lines, at most one every few seconds, each fleet's last one always."""

    def __init__(self, console: Console, every: float = 10.0):
        self._console, self._every, self._last = console, every, 0.0

    def line(self, text: str) -> None:
        """Prints a finished sentence."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def progress(self, p: Progress) -> None:
        """Prints where a fleet's training stands."""
        now = time.monotonic()
        if p.done < p.total and now - self._last < self._every:
            return
        self._last = now
        self.line(
            f"  {p.fleet}: {p.done}/{p.total} model-epochs ({100 * p.done / p.total:.0f}%), "
            f"loss {p.loss:.4f}, {p.seconds:.0f} s, {p.eta:.0f} s to go"
        )


def main(_: list[str]) -> int:
    """Runs the sweep."""
    plan, execution = make_plan(), make_execution()
    use_all_cores()
    # A log file is not a terminal; give tables their room there too.
    console = Console(width=None if sys.stdout.isatty() else 160)
    log = _Log(console)
    log.line(f"plan {plan.fingerprint()}, {engine.describe_device(execution)}, {_WORKDIR.value}")
    reporter = engine.Reporter(log.line, log.progress)
    try:
        rows = engine.run(plan, execution, _WORKDIR.value, _DATA_DIR.value, reporter)
    except Preempted as stopped:
        log.line(f"{stopped}; the same command continues")
        return 0
    except DivergedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path in report.report_run(rows, _WORKDIR.value, console):
        log.line(f"wrote {path}")
    return 0


if __name__ == "__main__":
    run(main, "launch.sweep", __doc__ or "")
