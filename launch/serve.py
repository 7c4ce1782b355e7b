"""Puts a trained model of a sweep, an experiment or a bank behind HTTP, for attacks on a black box.

`jleaks/blackbox/protocol.py` documents requests and answers.  Prints the address in one line, then
answers until it is stopped (Ctrl-C, SIGTERM): requests in flight are answered first.
"""

import time
from typing import cast

import numpy as np
from absl import flags

from jleaks.blackbox.box import LearnerBox
from jleaks.blackbox.files import write_records
from jleaks.blackbox.posteriors import make_records
from jleaks.blackbox.protocol import About
from jleaks.blackbox.server import make_app, serving
from jleaks.errors import InputError
from jleaks.paper.kept import ModelRole, kept_model
from jleaks.preemption import StopSignal
from launch.flags import run

_WHERE = "Where"
_WHAT = "What is served"
_SPEED = "Speed only"

_WORKDIR = flags.DEFINE_string(
    "workdir",
    "checkpoints/sweep",
    "Of launch.sweep, launch.paper or one task of launch.bank.",
    module_name=_WHERE,
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "The datasets it was run on, unless synthetic.", module_name=_WHERE
)
_MODELS_DIR = flags.DEFINE_string(
    "models_dir", None, "Where its models are, unless in the work directory.", module_name=_WHERE
)
_HOST = flags.DEFINE_string("host", "127.0.0.1", "To listen on.", module_name=_WHERE)
_PORT = flags.DEFINE_integer(
    "port", 8000, "To listen on; 0 for any that is free.", 0, 65535, module_name=_WHERE
)
_RECORDS_OUT = flags.DEFINE_string(
    "records_out",
    None,
    "Also writes the model's members and as many non-members here (npz), to audit it with.",
    module_name=_WHERE,
)
_TASK = flags.DEFINE_string("task", None, "One of the run's tasks.", module_name=_WHAT)
_SEED = flags.DEFINE_integer("seed", 0, "One of the task's seeds.", module_name=_WHAT)
_ROLE = flags.DEFINE_enum(
    "role",
    "target",
    ["target", "shadow", "model"],
    "Model; a bank has nothing but models.",
    module_name=_WHAT,
)
_INDEX = flags.DEFINE_integer(
    "index",
    0,
    "Which of the seed's shadows (0: the sweep's), or of a bank's models.",
    0,
    module_name=_WHAT,
)
_MOST = flags.DEFINE_integer(
    "most_records", 500, "Of one request.", lower_bound=1, module_name=_WHAT
)
_BLOCK = flags.DEFINE_integer(
    "records_per_block", 250, "Answered at a time.", lower_bound=1, module_name=_SPEED
)

# Seconds between two looks at the stop signal.
_LOOK = 0.1


def main(_: list[str]) -> int:
    """Serves one model."""
    if _TASK.value is None:
        raise InputError("--task names the task whose model shall be served")
    role = cast(ModelRole, _ROLE.value)
    with StopSignal() as stop:
        model = kept_model(
            *(_WORKDIR.value, _TASK.value, _SEED.value, role),
            *(_DATA_DIR.value, _MODELS_DIR.value, _INDEX.value),
        )
        data = model.data
        about = About(
            task=data.task.name,
            num_classes=data.task.num_classes,
            shape=data.features.shape[1:],
            dtype=str(data.features.dtype),
            most_records=_MOST.value,
            fingerprint=model.fingerprint,
        )
        box = LearnerBox(model.learner, model.state, _BLOCK.value)
        # Compiled before anybody waits for an answer.
        box.answer(data.features[:1])
        if _RECORDS_OUT.value is not None:
            rows = np.concatenate([model.members, model.nonmembers])
            member = np.arange(len(rows)) < len(model.members)
            records = make_records(data.features[rows], member, data.labels[rows])
            write_records(_RECORDS_OUT.value, records)
        with serving(make_app(box, about), _HOST.value, _PORT.value) as address:
            what = f"{role} of {data.task.name}, seed {_SEED.value}"
            print(f"serving the {what}, at {address}", flush=True)
            while stop.received is None:
                time.sleep(_LOOK)
    print("stopped", flush=True)
    return 0


if __name__ == "__main__":
    run(main, "launch.serve", __doc__ or "")
