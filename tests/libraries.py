"""Libraries of trained models, and files of theirs that are not what they were."""

from jleaks import npz
from jleaks.experiments.library import Library
from jleaks.training.execution import Execution
from jleaks.training.preemption import StopSignal
from jleaks.training.reporter import Reporter

EXECUTION = Execution(models_per_vmap=1)


def open_library(folder, stop=None, execution=EXECUTION):
    return Library(folder, execution, Reporter(), stop or StopSignal())


def rewritten(path, change=None, **meta):
    arrays, about = npz.load(path, "")
    npz.save(path, {**arrays, **(change(arrays) if change else {})}, {**about, **meta})
