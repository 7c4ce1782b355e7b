"""Puts a trained model of a sweep, an experiment or a bank behind HTTP, for attacks on a black box.

`jleaks/blackbox/about.py` documents requests and answers.  Prints the address in one line, then
answers until it is stopped (Ctrl-C, SIGTERM): requests in flight are answered first.

Example: python -m launch.serve --workdir=checkpoints/default --task=location --records_out=target.npz
"""

import time
from typing import cast

import numpy as np
from absl import flags

from jleaks.errors import InputError
from jleaks.training.preemption import StopSignal

from .app import SPEED, WHERE, check_alone, run
from .network import own_network
from .tasks import DATA_DIR, define_own_data, own_task

_WHAT = "What is served"

_WORKDIR = flags.DEFINE_string(
    "workdir",
    "checkpoints/sweep",
    "Directory of a launch.sweep, a launch.paper or one task of a launch.bank.",
    module_name=WHERE,
)
_MODELS_DIR = flags.DEFINE_string(
    "models_dir", None, "Where its models are, unless in the work directory.", module_name=WHERE
)
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen on.", module_name=WHERE)
_PORT = flags.DEFINE_integer(
    "port", 8000, "Port to listen on; 0 for any that is free.", 0, 65535, module_name=WHERE
)
_RECORDS_OUT = flags.DEFINE_string(
    "records_out",
    None,
    "File (npz) to write the model's members and as many non-members to, to audit it with.",
    module_name=WHERE,
)
_TASK = flags.DEFINE_string(
    "task", None, "Task whose model is served, one of the run's.", module_name=_WHAT
)
define_own_data(_WHAT)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Seed whose model is served, one of the task's.", module_name=_WHAT
)
_ROLE = flags.DEFINE_enum(
    "role",
    "target",
    ["target", "shadow", "model"],
    "Model that is served; a bank has nothing but models.",
    module_name=_WHAT,
)
_INDEX = flags.DEFINE_integer(
    "index",
    0,
    "Number of the shadow among its seed's (0: the sweep's), or of the model in a bank.",
    0,
    module_name=_WHAT,
)
_DEFENCE = flags.DEFINE_string(
    "defence",
    None,
    'Defence of the answers of a model that has none, "NAME:STRENGTH", such as "top_k:1".',
    module_name=_WHAT,
)
_MOST = flags.DEFINE_integer(
    "most_records", 500, "Most records that one request may have.", lower_bound=1, module_name=_WHAT
)
_BLOCK = flags.DEFINE_integer(
    "records_per_block",
    250,
    "Number of records answered at a time.",
    lower_bound=1,
    module_name=SPEED,
)

# Seconds between two looks at the stop signal.
_LOOK = 0.1


def main(_: list[str]) -> int:
    """Serves one model."""
    from jleaks.blackbox.about import About
    from jleaks.blackbox.box import LearnerBox
    from jleaks.blackbox.files import write_records
    from jleaks.blackbox.posteriors import make_records
    from jleaks.blackbox.server import make_app, serving
    from jleaks.experiments.kept import ModelRole, kept_model

    check_alone()
    own = own_task()
    if (task := _TASK.value or own) is None:
        raise InputError("--task names the task whose model shall be served")
    own_network()
    role = cast(ModelRole, _ROLE.value)
    with StopSignal() as stop:
        model = kept_model(
            *(_WORKDIR.value, task, _SEED.value, role),
            *(DATA_DIR.value, _MODELS_DIR.value, _INDEX.value, _DEFENCE.value),
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
        box = LearnerBox(model.learner, model.state, _BLOCK.value, model.answering)
        # Compiled before anybody waits for an answer.
        box.answer(data.features[:1])
        if _RECORDS_OUT.value is not None:
            rows = np.concatenate([model.members, model.nonmembers])
            member = np.arange(len(rows)) < len(model.members)
            records = make_records(data.features[rows], member, data.labels[rows])
            write_records(_RECORDS_OUT.value, records)
        with serving(make_app(box, about), _HOST.value, _PORT.value) as address:
            what = f"{_ROLE.value} of {data.task.name}, seed {_SEED.value}"
            print(f"serving the {what}, at {address}", flush=True)
            while stop.received is None:
                time.sleep(_LOOK)
        # A server has no other end: it is not to be continued.
        stop.received = None
    print("stopped", flush=True)
    return 0


if __name__ == "__main__":
    run(main, "python -m launch.serve", __doc__ or "")
