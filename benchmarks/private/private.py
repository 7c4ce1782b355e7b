"""What does a step of DP-SGD cost?  A fleet of jleaks beside the trainers of other tools.

python -m benchmarks.private --environments=DIR --out=results/speed/private.jsonl

DIR holds an environment for each other tool: DIR/opacus (pip install opacus==1.6.0 torch==2.13.0) and
DIR/jax_privacy (pip install jax-privacy dp-accounting); a tool without one is left out.  Contenders take
turns (A B A B), each in a process of its own.  All of them train the same MLP with Adam on Poisson samples
of the same expected size, with the same clipping norm and noise, on the same records; without --data_dir
these are synthetic stand-ins.  jleaks trains really all models, also without privacy, and is timed by whole
runs of its trainer; the others are timed at the warm steps of one model on all cores, or of one on each
core at the same time, and multiplied up: models are equal work.  What is called of each tool is said in
`with_*.py` of this folder.  Of CNNs jleaks' own two ways alone are timed.  All on CPU.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import harness
from benchmarks.harness import (
    DATA_DIR,
    OUT,
    Answering,
    Command,
    Flag,
    Layout,
    Row,
    interpreter,
    where,
)
from benchmarks.private.job import Job, Layers
from benchmarks.training.training import mean_and_error
from benchmarks.training.workload import (
    BATCH,
    LEARNING_RATE,
    NETWORKS,
    Found,
    Workload,
    make_workload,
)
from jleaks.errors import InputError
from jleaks.report.table import Table

# Those whose records are zeros and ones, and whose network is one hidden layer.
_MLPS = ("purchase_mlp", "location_mlp")
_CNNS = ("cifar_cnn", "mnist_cnn")
_ROOT = Path(__file__).parents[2]


class Contender(NamedTuple):
    """A way to train by DP-SGD.

    Attributes:
      title: In tables.
      module: Of this folder.
      environment: Folder below --environments; none for the interpreter that runs this.
      each_core: Whether there is a process on each core, at the same time, and not one on all.
    """

    title: str
    module: str
    environment: str = ""
    each_core: bool = False

    def python(self) -> Path:
        """Returns the interpreter."""
        return interpreter(COMMAND.environments, self.environment)


_JAX, _OPACUS = ("with_jax_privacy", "jax_privacy"), ("with_opacus", "opacus")
CONTENDERS = {
    "jleaks_plain": Contender("jleaks, without privacy", "with_jleaks"),
    "jleaks": Contender("jleaks", "with_jleaks"),
    "jax_privacy": Contender("JAX Privacy", *_JAX),
    "jax_privacy_processes": Contender("JAX Privacy in processes", *_JAX, True),
    "opacus_hooks": Contender("Opacus", *_OPACUS),
    "opacus_ghost": Contender("Opacus, ghost clipping", *_OPACUS),
    "opacus_ghost_processes": Contender("Opacus, ghost, in processes", *_OPACUS, True),
}

COMMAND = Command(
    "benchmarks.private",
    __doc__,
    ("networks", "num_models", "repetitions", "seconds", "noise", "clip"),
    environments=where("Folder of the other tools' environments."),
    networks=Flag(f"Some of {', '.join((*_MLPS, *_CNNS))}.", list(_MLPS)),
    contenders=Flag(f"Some of {', '.join(CONTENDERS)}; default all.", list(CONTENDERS)),
    num_models=Flag("Models of jleaks' fleet.", 32, 1),
    repetitions=Flag("Turns of every contender.", 3, 1),
    seconds=Flag("Least length of a measurement.", 2.0, 0.0),
    noise=Flag("Deviation of the noise, in clipping norms.", 1.0, 0.0),
    clip=Flag("Largest norm of a record's gradient.", 1.0, 0.0),
    num_records=Flag("Records each model trains on; default by network.", None, BATCH, int),
    quality_models=Flag("Models whose loss and accuracy are compared; 0 for none.", 4, 0),
    quality_epochs=Flag("Epochs they are trained for; default by network.", None, 1, int),
    data_dir=DATA_DIR,
    out=OUT,
)


def make_job(workload: Workload, num_models: int) -> Job:
    """Returns what the other tools train: the workload's first models; nothing of a CNN's weights."""
    first = second = np.zeros((num_models, 0, 0), np.float32)
    if workload.network in _MLPS:
        kernels = [[kernel for kernel, _ in workload.initial(i)] for i in range(num_models)]
        first, second = map(np.stack, zip(*kernels, strict=True))
    members = workload.members[:num_models]
    return Job(workload.features, workload.labels, members, (first, second), BATCH,
               LEARNING_RATE, COMMAND.noise, COMMAND.clip)  # fmt: skip


def learned(job: Job, tests: np.ndarray, layers: Layers) -> dict[str, list[float]]:
    """Returns by model the loss on its training part and the accuracy on records that it did not have."""
    found: dict[str, list[float]] = {"train_loss": [], "test_accuracy": []}
    for model, (first, first_bias, second, second_bias) in enumerate(zip(*layers, strict=True)):
        rows = np.concatenate([job.members[model], tests])
        logits = np.tanh(job.records[rows] @ first + first_bias) @ second + second_bias
        logits -= logits.max(1, keepdims=True)
        labels, at = job.labels[rows], np.arange(len(rows))
        losses = np.log(np.exp(logits).sum(1)) - logits[at, labels]
        count = job.members.shape[1]
        found["train_loss"].append(float(losses[:count].mean()))
        found["test_accuracy"].append(float((logits.argmax(1) == labels)[count:].mean()))
    return found


def _run(name: str, folder: Path, num_models: int, epochs: int) -> Found:
    """Runs a contender, of which some models learn first; what it found, or how it `failed`."""
    contender, cores = CONTENDERS[name], os.sched_getaffinity(0)
    places = [{core} for core in cores] if contender.each_core else [cores]
    module = f"benchmarks.private.{contender.module}"
    words = [str(contender.python()), "-m", module, str(folder), name, str(COMMAND.seconds)]
    running: list[Answering] = []
    try:
        for i, place in enumerate(places):
            # Whoever is started has the cores of who starts it, and as many threads.
            os.sched_setaffinity(0, place)
            learns = str(0 if i else num_models)
            env = {**os.environ, "PYTHONPATH": str(_ROOT)}
            running.append(Answering([*words, learns, str(epochs)], env))
        ready = [process.read() for process in running]
        for process in running:
            process.tell()
        found = [{**one, **process.read()} for one, process in zip(ready, running, strict=True)]
    except InputError as error:
        if not contender.environment:
            raise InputError(f"{name} failed: {error}") from error
        return {"failed": str(error)}
    finally:
        os.sched_setaffinity(0, cores)
        for process in running:
            process.close()
    rates = [one["model_steps"] / one["seconds"] for one in found]
    counts = {n: sum(one[n] for one in found) for n in ("model_steps", "measured_models")}
    return {**found[0], **counts, "rate": sum(rates)}


def _turns(network: str, names: Sequence[str], folder: Path, job: Job, tests: np.ndarray) -> dict:
    """Runs all turns of one network; in the first, models learn."""
    epochs = COMMAND.quality_epochs or NETWORKS[network].quality_epochs
    num_models = min(COMMAND.quality_models, len(job.members)) if network in _MLPS else 0

    def turn(name: str, number: int) -> Found:
        learns = 0 if number else num_models
        found = _run(name, folder, learns, epochs)
        if learns and "failed" not in found:
            with np.load(folder / "learned.npz") as arrays:
                values = learned(job, tests, list(arrays.values()))
            found["quality"] = {"epochs": epochs, "models": num_models} | {
                what: mean_and_error(value) for what, value in values.items()
            }
        return found

    def told(name: str, found: Found) -> str:
        what = found.get("failed") or f"{1e6 / found['rate']:,.0f} us a model-step"
        return f"{network}, {name}: {what}"

    return harness.take_turns(COMMAND.repetitions, names, turn, told)


def make_row(name: str, runs: Mapping[str, Sequence[Found]], num_models: int) -> Row:
    """Returns what was found of a contender; every ratio is within a turn.

    Args:
      name: Of the contender.
      runs: What each contender found in each turn, of one network.
      num_models: Of jleaks' fleet.
    """
    mine = runs[name]
    row: Row = {
        "benchmark": "private",
        "contender": name,
        "num_models": num_models,
        "failed": mine[-1].get("failed"),
    }
    if row["failed"]:
        return row
    rates = [found["rate"] for found in mine]
    row |= {
        "measured_models": mine[0]["measured_models"],
        "measured_steps": [found["model_steps"] for found in mine],
        "extrapolated": "by models" if CONTENDERS[name].environment else "no",
        "model_steps_per_second": harness.spread(rates, 1),
        "microseconds_per_model_step": harness.spread([1e6 / rate for rate in rates], 2),
    }
    # How much longer a step takes than jleaks' own, without privacy and with it.
    for field, other in (("times_plain", "jleaks_plain"), ("times_jleaks", "jleaks")):
        if theirs := runs.get(other):
            pairs = zip(theirs, rates, strict=True)
            row[field] = harness.spread([found["rate"] / rate for found, rate in pairs], 3)
    kept = ("quality", "kernels", "packing", "first_call_seconds")
    return row | {key: mine[0][key] for key in kept if key in mine[0]}


_LAYOUT = Layout(
    "A step of DP-SGD on {cores} cores of {cpu}",
    "Medians over {turns} turns (least-largest), commit {commit}, load {load_before} before, {source} "
    "records.  Noise {noise}, clipping norm {clip}, Adam, {batch} records expected in a Poisson sample; "
    "without privacy so many in every batch.  Timed: models that were trained at once; their time is "
    "multiplied up to all.  Step: of one model.  Times: as long as a step of jleaks, turn by turn.  Loss "
    "and accuracy: mean and standard error over models after a few epochs.  {failures}",
    [
        ("Network", "{network}"),
        ("Contender", "{title}"),
        ("Timed", "{measured_models}", "failed"),
        ("us per\nstep", harness.ranged("microseconds_per_model_step", ",.0f"), "-"),
        ("Model-steps\nper second", "{model_steps_per_second[median]:,.0f}", "-"),
        ("Times jleaks\nwithout privacy", harness.ranged("times_plain", ".2f"), "-"),
        ("Times\njleaks", harness.ranged("times_jleaks", ".2f"), "-"),
        ("Training\nloss", "{train_loss}", "-"),
        ("Test\naccuracy", "{test_accuracy}", "-"),
    ],
    num_text_columns=2,
    section="{network}",
)


def private_table(rows: Sequence[Row]) -> Table:
    """Returns the table of one run."""
    lines = []
    for row in rows:
        line = {**row, "title": CONTENDERS[row["contender"]].title}
        for name, value in row.get("quality", {}).items():
            if isinstance(value, dict):
                error = value["standard_error"]
                line[name] = f"{value['mean']:.3f}" + ("" if error is None else f" ±{error:.3f}")
        lines.append(line)
    failures = {f"{line['title']}: {line['failed']}" for line in lines if line["failed"]}
    return _LAYOUT.table(lines, failures="  ".join(sorted(failures)))


def chosen() -> list[str]:
    """Returns the contenders that the flags name and that can run here; says which are left out."""
    names = COMMAND.names("contenders", list(CONTENDERS))
    there = [name for name in CONTENDERS if name in names and CONTENDERS[name].python().exists()]
    missing = [name for name in names if name not in there]
    for place in dict.fromkeys(CONTENDERS[name].environment for name in missing):
        out = ", ".join(name for name in missing if CONTENDERS[name].environment == place)
        print(f"left out, since there is no environment {place} in --environments: {out}")
    if not there:
        raise InputError("no contender can run: see --environments in --help")
    return there


def main() -> int:
    from jleaks.training.execution import Execution

    networks, names = COMMAND.names("networks", (*_MLPS, *_CNNS)), chosen()
    own = [name for name in names if not CONTENDERS[name].environment]
    if not own and set(networks) & set(_CNNS):
        raise InputError(
            "of CNNs jleaks alone is timed: name jleaks or jleaks_plain in --contenders"
        )
    about = COMMAND.about(harness.machine(), Execution())
    del about["kernels"]
    rows: list[Row] = []
    for network in [name for name in (*_MLPS, *_CNNS) if name in networks]:
        timed = own if network in _CNNS else names
        # Whole batches: a record's probability is then the same in every tool, which take it from the size.
        num_records = (COMMAND.num_records or NETWORKS[network].num_records) // BATCH * BATCH
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory)
            count = COMMAND.num_models
            workload, source = make_workload(network, num_records, count, COMMAND.data_dir)
            job = make_job(workload, count)
            workload.save(folder / "workload.npz")
            job.save(folder / "job.npz")
            runs = _turns(network, timed, folder, job, workload.tests)
        for found in runs.values():
            about["versions"] |= found[0].get("versions", {})
        common = {
            "network": network,
            "num_records": num_records,
            "batch": BATCH,
            "noise": COMMAND.noise,
            "clip": COMMAND.clip,
            "source": source,
            "turns": COMMAND.repetitions,
            **about,
        }
        found = [{**make_row(name, runs, COMMAND.num_models), **common} for name in timed]
        # At once: the next network may fail.
        harness.append(COMMAND.out, found)
        rows += found
    return COMMAND.finish([], private_table(rows))
