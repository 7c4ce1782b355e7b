"""jleaks: all models in one fleet, by whole runs of its trainer.

python -m benchmarks.private.with_jleaks FOLDER jleaks|jleaks_plain ...      (see `job.answer`)

Plain training has batches of one size from a shuffled epoch; everything else is the same.
"""

import json
import sys
from pathlib import Path

import numpy as np

import jleaks
from benchmarks.private.job import Job, save_layers
from benchmarks.training.with_jax import make_spec, time_fleet
from benchmarks.training.workload import Workload
from jleaks.training.preemption import StopSignal
from jleaks.training.trainer import Trainer
from jleaks.versions import installed


def main(place: str, name: str, seconds: str, num_models: str, epochs: str) -> None:
    folder = Path(place)
    workload, job = Workload.load(folder / "workload.npz"), Job.load(folder / "job.npz")
    privacy = None if name == "jleaks_plain" else (job.noise, job.clip, 1 / job.num_steps)
    execution = jleaks.start()
    if count := int(num_models):
        spec = make_spec(workload, execution, count, int(epochs), privacy)
        state = Trainer(spec, execution, lambda _: None, StopSignal()).run()
        layers = [state.params[f"Dense_{i}"] for i in range(2)]
        arrays = [layer[what] for layer in layers for what in ("kernel", "bias")]
        save_layers(folder, [np.asarray(array) for array in arrays])
    # Not measured by steps: the trainer's first run gets warm.
    print(json.dumps({}), flush=True)
    sys.stdin.readline()
    found = time_fleet(workload, execution, len(job.members), float(seconds), privacy)
    print(json.dumps({**found, "versions": installed(("jleaks", "jax"))}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
