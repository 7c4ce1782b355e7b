"""How fast are shadow models trained?  jleaks beside JAX and PyTorch as people use them.

python -m benchmarks.training --out=results/speed/training.jsonl
python -m benchmarks.training --networks=cifar_cnn --num_models=8,32,256 --contenders=jleaks,torch_fused

Contenders take turns (A B A B), each time in a process of its own.  All of them train the same network with
Adam and the same batch size on the same records; without --data_dir these are synthetic stand-ins.  jleaks
trains really all models and is timed by whole runs of its trainer; the others are timed at their steady
steps alone, on one model or one stack of models, and multiplied up: models are equal work.  All on CPU.
"""

import json
import os
import subprocess
import sys
import tempfile
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from benchmarks.harness import WHAT, WHERE, append, command, machine, spread
from benchmarks.training.table import training_table
from benchmarks.training.workload import (
    BATCH,
    CONTENDERS,
    EPOCHS,
    NETWORKS,
    STACKED_TORCH,
    Workload,
    flops_per_step,
    is_torch,
    make_workload,
)
from jleaks.errors import InputError
from launch.flags import cache_folder, run, use_all_cores

_NETWORKS = flags.DEFINE_list("networks", list(NETWORKS), f"Some of {', '.join(NETWORKS)}.", **WHAT)
_MODELS = flags.DEFINE_list("num_models", ["32"], "Models to train.", **WHAT)
_CONTENDERS = flags.DEFINE_list(
    "contenders", None, f"Some of {', '.join(CONTENDERS)}; default all.", **WHAT
)
_REPETITIONS = flags.DEFINE_integer(
    "repetitions", 3, "Turns of every contender.", lower_bound=1, **WHAT
)
_SECONDS = flags.DEFINE_float(
    "seconds", 1.0, "Least length of a measurement.", lower_bound=0.0, **WHAT
)
_RECORDS = flags.DEFINE_integer(
    "num_records", None, "Records each model trains on; default by network.",
    lower_bound=BATCH, **WHAT,
)  # fmt: skip
_LARGEST = flags.DEFINE_integer(
    "largest_stack", None, "Models that jax_vmap and torch.func train at once; default the fastest "
    "on two cores.", lower_bound=1, **WHAT,
)  # fmt: skip
_QUALITY = flags.DEFINE_integer(
    "quality_models", 4, "Models of every contender, trained in the first turn, whose loss and accuracy "
    "are compared; 0 for none.", lower_bound=0, **WHAT,
)  # fmt: skip
_QUALITY_EPOCHS = flags.DEFINE_integer(
    "quality_epochs",
    None,
    "Epochs they are trained for; default by network.",
    lower_bound=1,
    **WHAT,
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Datasets prepared by launch.prepare; without it synthetic stand-ins.",
    **WHERE,
)  # fmt: skip
_OUT = flags.DEFINE_string("out", None, "JSON lines to append to.", **WHERE)
_CONTENDER = flags.DEFINE_string(
    "contender", None, "Time this one alone, in this process (used by the benchmark itself).",
    **WHERE,
)  # fmt: skip
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "With --contender: where the workload is, and where to leave what it found.",
    **WHERE,
)  # fmt: skip
_COUNT = flags.DEFINE_integer(
    "count", 1, "With --contender: models to train at once.", lower_bound=1, **WHERE
)


class Job(NamedTuple):
    """What one process measures.

    Attributes:
      contender: Its name.
      size: Models that it trains: all of them, or those that it trains at once.
    """

    contender: str
    size: int


def _work(name: str, folder: Path) -> int:
    """Measures one contender in this process and leaves what it found in a file."""
    if name not in CONTENDERS:
        raise InputError(f"unknown contender {name!r}; allowed: {', '.join(CONTENDERS)}")
    workload, count = Workload.load(folder / "workload.npz"), _COUNT.value
    try:
        module = CONTENDERS[name].load()
        found = module.measure(name, workload, count, _SECONDS.value)
        if num_models := _QUALITY.value:
            epochs = _QUALITY_EPOCHS.value or NETWORKS[workload.network].quality_epochs
            learned = module.learn(name, workload, num_models, min(count, num_models), epochs)
            found["quality"] = {"epochs": epochs, "models": num_models} | {
                what: mean_and_error(values) for what, values in learned.items()
            }
    except InputError:
        raise
    # Whatever a framework does wrong is told in one line of a row.
    except Exception as error:
        traceback.print_exc()
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise InputError(f"{type(error).__name__}: {(lines or ['no message'])[0]}") from error
    (folder / "found.json").write_text(json.dumps(found))
    return 0


def _run(job: Job, folder: Path, quality_models: int) -> dict[str, Any]:
    """Runs one contender in a process of its own; what it found, or the line in which it `failed`."""
    command = [
        *(sys.executable, "-m", "benchmarks.training"),
        *(f"--contender={job.contender}", f"--count={job.size}", f"--workdir={folder}"),
        *(f"--seconds={_SECONDS.value}", f"--quality_models={quality_models}"),
        f"--cache_dir={folder / 'cache'}",
        *([f"--quality_epochs={_QUALITY_EPOCHS.value}"] if _QUALITY_EPOCHS.value else []),
    ]
    # Compiled programs are kept from one turn to the next, but not from one benchmark to the next.
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(folder / "cache" / "inductor")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1].removeprefix("error: ")
        if CONTENDERS[job.contender].sizes is None:
            raise InputError(f"{job.contender} failed: {last}")
        return {"failed": last}
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


def _chosen() -> list[str]:
    """Returns the contenders that the flags name and that can run here."""
    asked = _CONTENDERS.value
    for name in asked or []:
        if name not in CONTENDERS:
            raise InputError(f"unknown contender {name!r}; allowed: {', '.join(CONTENDERS)}")
    names = [name for name in CONTENDERS if asked is None or name in asked]
    torch = [name for name in names if is_torch(name)]
    if torch and find_spec("torch") is None:
        advice = "pip install jleaks[peers]"
        if asked is not None:
            raise InputError(f"{', '.join(torch)} need PyTorch, which is not installed: {advice}")
        print(f"skipped, since PyTorch is not installed ({advice}): {', '.join(torch)}")
        names = [name for name in names if name not in torch]
    return names


def _numbers() -> list[int]:
    if not all(text.isdigit() and int(text) > 0 for text in _MODELS.value) or not _MODELS.value:
        raise InputError(f"--num_models is {','.join(_MODELS.value)}, expected numbers above 0")
    return sorted({int(text) for text in _MODELS.value})


def _networks() -> list[str]:
    for name in _NETWORKS.value:
        if name not in NETWORKS:
            raise InputError(f"unknown network {name!r}; allowed: {', '.join(NETWORKS)}")
    return [name for name in NETWORKS if name in _NETWORKS.value]


def _job(contender: str, network: str, num_models: int, largest: int | None) -> Job:
    return Job(contender, CONTENDERS[contender].trained(network, num_models, largest))


def _turns(network: str, jobs: list[Job], folder: Path) -> dict[Job, list[dict[str, Any]]]:
    """Runs all turns of one network; a job that serves several numbers of models runs once a turn."""
    runs: dict[Job, list[dict[str, Any]]] = {job: [] for job in jobs}
    last = {job.contender: job for job in runs}
    for turn in range(_REPETITIONS.value):
        for job, found in runs.items():
            if found and "failed" in found[-1]:
                continue
            learns = turn == 0 and job == last[job.contender]
            found.append(_run(job, folder, _QUALITY.value if learns else 0))
            told = found[-1].get("failed") or (
                f"{1e6 * found[-1]['seconds'] / found[-1]['model_steps']:,.0f} us a model-step"
            )
            where = f"turn {turn + 1}, {network}, {job.contender}, {job.size} models"
            print(f"{where}: {told}", flush=True)
    return runs


def _rate(found: dict[str, Any]) -> float:
    """Returns model-steps per second."""
    return float(found["model_steps"] / found["seconds"])


def mean_and_error(values: list[float]) -> dict[str, float | None]:
    """Returns mean and standard error over models; one model has no error."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
    return {
        "mean": round(float(np.mean(values)), 4),
        "standard_error": None if error is None else round(float(error), 4),
    }


def make_row(
    contender: str,
    network: str,
    num_models: int,
    runs: dict[Job, list[dict[str, Any]]],
    largest: int | None = None,
) -> dict[str, Any]:
    """Returns what was found of one contender and number of models; every ratio is within a turn.

    Args:
      contender: Its name.
      network: Its name.
      num_models: That are to be trained.
      runs: What every job found in each turn, of all contenders of the network.
      largest: The user's choice of how many models are trained at once.
    """
    job, task = _job(contender, network, num_models, largest), NETWORKS[network].describe()
    mine, flops = runs[job], flops_per_step(task)
    row: dict[str, Any] = {
        "benchmark": "training",
        "network": network,
        "contender": contender,
        "num_models": num_models,
        "flops_per_model_step": flops,
        "failed": mine[-1].get("failed"),
    }
    if row["failed"]:
        return row
    rates = [_rate(found) for found in mine]
    peaks = [found["gemm_flops"] for found in mine]
    rivals = {"times_torch_fused": ("torch_fused",), "times_best_stacked_torch": STACKED_TORCH}
    steps_per_model = EPOCHS * (task.quarter // BATCH)
    row |= {
        "measured_models": mine[0]["measured_models"],
        "measured_steps": [found["model_steps"] for found in mine],
        "extrapolated": "no" if CONTENDERS[contender].sizes is None else "by models",
        "model_steps_per_second": spread(rates, 1),
        "microseconds_per_model_step": spread([1e6 / rate for rate in rates], 2),
        "gflops": spread([rate * flops / 1e9 for rate in rates], 2),
        "gemm_gflops": spread([peak / 1e9 for peak in peaks], 1),
        "share_of_gemm": spread([r * flops / p for r, p in zip(rates, peaks, strict=True)]),
        "models_per_hour": spread([3600 * rate / steps_per_model for rate in rates], 1),
        "first_call_seconds": spread([found["first_call_seconds"] for found in mine], 2),
        "peak_megabytes": spread([found["peak_megabytes"] for found in mine], 0),
    }
    for ratio, names in rivals.items():
        ran = [runs.get(_job(name, network, num_models, largest), []) for name in names]
        whole = [turns for turns in ran if turns and "failed" not in turns[-1]]
        best = [max(map(_rate, turn)) for turn in zip(*whole, strict=True)]
        times = [a / b for a, b in zip(rates, best, strict=bool(best))]
        row[ratio] = spread(times, 3) if best else None
    row |= {key: mine[0][key] for key in ("kernels", "packing") if key in mine[0]}
    for other, found in runs.items():
        if other.contender == contender and "quality" in found[0]:
            row["quality"] = found[0]["quality"]
    return row


def main(_: list[str]) -> int:
    if _CONTENDER.value:
        if _WORKDIR.value is None:
            raise InputError("--contender needs --workdir")
        return _work(_CONTENDER.value, Path(_WORKDIR.value))
    networks, numbers, names = _networks(), _numbers(), _chosen()
    use_all_cores()
    import jax

    from jleaks.training.execution import Execution
    from jleaks.training.reporter import provenance
    from jleaks.versions import installed
    from launch.log import console

    if jax.default_backend() != "cpu":
        raise InputError("contenders are compared on CPU: set JAX_PLATFORMS=cpu")
    before, about = machine(), provenance(None, Execution())
    about["versions"] |= installed(("torch",))
    # What computes is each contender's own.
    del about["kernels"]
    shown = command("benchmarks.training", (_NETWORKS, _MODELS, _REPETITIONS, _SECONDS))
    kernels = cache_folder() / "kernels"
    kernels.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for network in networks:
        num_records = _RECORDS.value or NETWORKS[network].num_records
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory)
            (folder / "cache").mkdir()
            (folder / "cache" / "kernels").symlink_to(kernels.absolute())
            most = max(*numbers, _QUALITY.value, len(os.sched_getaffinity(0)))
            workload, source = make_workload(network, num_records, most, _DATA_DIR.value)
            workload.save(folder / "workload.npz")
            jobs = [
                _job(name, network, number, _LARGEST.value) for number in numbers for name in names
            ]
            runs = _turns(network, jobs, folder)
        common = {"num_records": num_records, "source": source, "turns": _REPETITIONS.value}
        common |= {"command": shown, **before, **about}
        found = [
            {**make_row(name, network, number, runs, _LARGEST.value), **common}
            for number in numbers
            for name in names
        ]
        append(_OUT.value, found)
        rows += found
    output = console()
    output.print(training_table(rows).to_rich(output))
    if _OUT.value:
        output.print(f"wrote {_OUT.value}", highlight=False)
    return 0


if __name__ == "__main__":
    run(main, "python -m benchmarks.training", __doc__ or "")
