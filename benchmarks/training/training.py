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
import tempfile
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import harness
from benchmarks.harness import DATA_DIR, OUT, Command, Flag, Layout, Row, where
from benchmarks.training.workload import (
    BATCH,
    CONTENDERS,
    EPOCHS,
    NETWORKS,
    STACKED_TORCH,
    Found,
    Workload,
    flops_per_step,
    is_torch,
    make_workload,
)
from jleaks.errors import InputError
from jleaks.report.table import Table
from launch.app import cache_folder, use_all_cores

COMMAND = Command(
    "benchmarks.training",
    __doc__,
    ("networks", "num_models", "repetitions", "seconds"),
    networks=Flag(f"Some of {', '.join(NETWORKS)}.", list(NETWORKS)),
    num_models=Flag("Models to train, ascending.", ["32"]),
    contenders=Flag(f"Some of {', '.join(CONTENDERS)}; default all.", kind=list),
    repetitions=Flag("Turns of every contender.", 3, 1),
    seconds=Flag("Least length of a measurement.", 1.0, 0.0),
    num_records=Flag("Records each model trains on; default by network.", None, BATCH, int),
    largest_stack=Flag(
        "Models that jax_vmap and torch.func train at once; default the fastest on two cores.",
        None,
        1,
        int,
    ),
    quality_models=Flag(
        "Models of every contender, trained in the first turn, whose loss and accuracy are compared; 0 for "
        "none.",
        4,
        0,
    ),
    quality_epochs=Flag("Epochs they are trained for; default by network.", None, 1, int),
    data_dir=DATA_DIR,
    out=OUT,
    contender=where("Time this one alone, in this process (used by the benchmark itself)."),
    workdir=where("With --contender: where the workload is, and where to leave what it found."),
    count=where("With --contender: models to train at once.", 1),
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
    harness.check_names("contender", [name], list(CONTENDERS))
    workload, count = Workload.load(folder / "workload.npz"), COMMAND.count
    try:
        module = CONTENDERS[name].load()
        found = module.measure(name, workload, count, COMMAND.seconds)
        if num_models := COMMAND.quality_models:
            epochs = COMMAND.quality_epochs or NETWORKS[workload.network].quality_epochs
            learned = module.learn(name, workload, num_models, min(count, num_models), epochs)
            found["quality"] = {"epochs": epochs, "models": num_models} | {
                what: mean_and_error(values) for what, values in learned.items()
            }
    except InputError:
        raise
    # Whatever a framework does wrong is told in one line of a row.
    except Exception as error:
        traceback.print_exc()
        raise InputError(harness.reason(error)) from error
    (folder / "found.json").write_text(json.dumps(found))
    return 0


def _run(job: Job, folder: Path, quality_models: int) -> Found:
    """Runs one contender in a process of its own; what it found, or the line in which it `failed`."""
    flags = [
        *(f"--contender={job.contender}", f"--count={job.size}", f"--workdir={folder}"),
        *(f"--seconds={COMMAND.seconds}", f"--quality_models={quality_models}"),
        f"--cache_dir={folder / 'cache'}",
        *([f"--quality_epochs={COMMAND.quality_epochs}"] if COMMAND.quality_epochs else []),
    ]
    # Compiled programs are kept from one turn to the next, but not from one benchmark to the next.
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(folder / "cache" / "inductor")}
    try:
        COMMAND.child(*flags, env=environment)
    except InputError as error:
        if CONTENDERS[job.contender].sizes is None:
            raise InputError(f"{job.contender} failed: {error}") from error
        return {"failed": str(error)}
    return json.loads((folder / "found.json").read_text())


def _chosen() -> list[str]:
    """Returns the contenders that the flags name and that can run here."""
    asked = COMMAND.contenders
    if asked is not None:
        harness.check_names("contenders", asked, list(CONTENDERS))
    names = [name for name in CONTENDERS if asked is None or name in asked]
    torch = [name for name in names if is_torch(name)]
    if torch and find_spec("torch") is None:
        advice = "pip install jleaks[peers]"
        if asked is not None:
            raise InputError(f"{', '.join(torch)} need PyTorch, which is not installed: {advice}")
        print(f"skipped, since PyTorch is not installed ({advice}): {', '.join(torch)}")
        names = [name for name in names if name not in torch]
    return names


def _job(contender: str, network: str, num_models: int, largest: int | None) -> Job:
    return Job(contender, CONTENDERS[contender].trained(network, num_models, largest))


def _turns(network: str, jobs: list[Job], folder: Path) -> dict[Job, list[Found]]:
    """Runs all turns of one network; a job that serves several numbers of models runs once a turn."""
    last = {job.contender: job for job in jobs}

    def turn(job: Job, number: int) -> Found:
        learns = number == 0 and job == last[job.contender]
        return _run(job, folder, COMMAND.quality_models if learns else 0)

    def told(job: Job, found: Found) -> str:
        what = found.get("failed") or f"{1e6 / _rate(found):,.0f} us a model-step"
        return f"{network}, {job.contender}, {job.size} models: {what}"

    return harness.take_turns(COMMAND.repetitions, jobs, turn, told)


def _rate(found: Found) -> float:
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
    runs: dict[Job, list[Found]],
    largest: int | None = None,
) -> Row:
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
    row: Row = {
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
        "model_steps_per_second": harness.spread(rates, 1),
        "microseconds_per_model_step": harness.spread([1e6 / rate for rate in rates], 2),
        "gflops": harness.spread([rate * flops / 1e9 for rate in rates], 2),
        "gemm_gflops": harness.spread([peak / 1e9 for peak in peaks], 1),
        "share_of_gemm": harness.spread([r * flops / p for r, p in zip(rates, peaks, strict=True)]),
        "models_per_hour": harness.spread([3600 * rate / steps_per_model for rate in rates], 1),
        "first_call_seconds": harness.spread([found["first_call_seconds"] for found in mine], 2),
        "peak_megabytes": harness.spread([found["peak_megabytes"] for found in mine], 0),
    }
    for ratio, names in rivals.items():
        ran = [runs.get(_job(name, network, num_models, largest), []) for name in names]
        whole = [turns for turns in ran if turns and "failed" not in turns[-1]]
        best = [max(map(_rate, turn)) for turn in zip(*whole, strict=True)]
        times = [a / b for a, b in zip(rates, best, strict=bool(best))]
        row[ratio] = harness.spread(times, 3) if best else None
    row |= {key: mine[0][key] for key in ("kernels", "packing") if key in mine[0]}
    for other, found in runs.items():
        if other.contender == contender and "quality" in found[0]:
            row["quality"] = found[0]["quality"]
    return row


_LAYOUT = Layout(
    "Training shadow models on {cores} cores of {cpu}",
    "Medians over {turns} turns (least-largest), commit {commit}, {source} records.  Timed: models that "
    "were trained at once; their time is multiplied up to all.  Step: of one model.  GFLOP/s: of the "
    "operations of records without zeros, with which jleaks leaves products out; their share of the best "
    "matrix product in the same process.  Times: as fast as "
    "PyTorch with fused Adam, and as the faster torch.func, turn by turn.  Models per hour: of the "
    "paper's {epochs} epochs on its parts.  First call: seconds that only it takes, the longest, without "
    "kept programs.  Loss and accuracy: mean and standard error over models after a few epochs.  "
    "{failures}",
    [
        ("Network", "{network}"),
        ("Models", "{num_models}"),
        ("Contender", "{title}"),
        ("Timed", "{timed}", "failed"),
        ("us per\nstep", "{microseconds_per_model_step[median]:,.0f}", "-"),
        ("GFLOP/s\n(of GEMM)", "{gflops[median]:.1f} ({share_of_gemm[median]:.0%})", "-"),
        ("Times\nfused", harness.ranged("times_torch_fused", ".2f"), "-"),
        ("Times\nstacked", "{times_best_stacked_torch[median]:.2f}", "-"),
        ("Models\nper hour", "{models_per_hour[median]:,.0f}", "-"),
        ("First\ncall", "{first_call_seconds[largest]:.1f}", "-"),
        ("Peak\nMB", "{peak_megabytes[median]:,.0f}", "-"),
        ("Training\nloss", "{train_loss}", "-"),
        ("Test\naccuracy", "{test_accuracy}", "-"),
    ],
    num_text_columns=3,
    section="{network} {num_models}",
)


def _learned(value: dict[str, float | None]) -> str:
    error = value["standard_error"]
    return f"{value['mean']:.3f}" + ("" if error is None else f"±{error:.3f}".replace("0.", "."))


def training_table(rows: list[Row]) -> Table:
    """Returns the table of one run."""
    lines = []
    for row in rows:
        line = {**row, "title": CONTENDERS[row["contender"]].title}
        if not row["failed"]:
            line["timed"] = "all" if row["extrapolated"] == "no" else row["measured_models"]
        learned = {k: _learned(v) for k, v in row.get("quality", {}).items() if isinstance(v, dict)}
        lines.append({**line, **learned})
    failures = {f"{line['title']}: {line['failed']}" for line in lines if line["failed"]}
    return _LAYOUT.table(lines, epochs=EPOCHS, failures="  ".join(sorted(failures)))


def main() -> int:
    if COMMAND.contender:
        if COMMAND.workdir is None:
            raise InputError("--contender needs --workdir")
        return _work(COMMAND.contender, Path(COMMAND.workdir))
    named, names = COMMAND.names("networks", list(NETWORKS)), _chosen()
    numbers = harness.whole_numbers("num_models", COMMAND.num_models, 1)
    use_all_cores()
    import jax

    from jleaks.training.execution import Execution
    from jleaks.versions import installed

    if jax.default_backend() != "cpu":
        raise InputError("contenders are compared on CPU: set JAX_PLATFORMS=cpu")
    about = COMMAND.about(harness.machine(), Execution())
    about["versions"] |= installed(("torch",))
    # What computes is each contender's own.
    del about["kernels"]
    kernels, largest = cache_folder() / "kernels", COMMAND.largest_stack
    kernels.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for network in [name for name in NETWORKS if name in named]:
        num_records = COMMAND.num_records or NETWORKS[network].num_records
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory)
            (folder / "cache").mkdir()
            (folder / "cache" / "kernels").symlink_to(kernels.absolute())
            most = max(*numbers, COMMAND.quality_models, len(os.sched_getaffinity(0)))
            workload, source = make_workload(network, num_records, most, COMMAND.data_dir)
            workload.save(folder / "workload.npz")
            jobs = [_job(name, network, number, largest) for number in numbers for name in names]
            runs = _turns(network, jobs, folder)
        common = {
            "num_records": num_records,
            "source": source,
            "turns": COMMAND.repetitions,
            **about,
        }
        found = [
            {**make_row(name, network, number, runs, largest), **common}
            for number in numbers
            for name in names
        ]
        # At once: the next network may fail.
        harness.append(COMMAND.out, found)
        rows += found
    return COMMAND.finish([], training_table(rows))
