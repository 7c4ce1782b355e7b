"""jleaks: how much a machine-learning model gives away about who was in its training data.

The names below are all that most users need; each is imported when it is first used, so that
`import jleaks` is quick and starts no device.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jleaks.api.audits import AuditReport, audit
    from jleaks.api.banks import AttackedBank, attack, train_bank
    from jleaks.api.fleets import TrainedFleet, train_fleet
    from jleaks.api.runs import sweep
    from jleaks.attacks.per_record import attack_on
    from jleaks.blackbox.client import endpoint, metered
    from jleaks.blackbox.pace import Limits
    from jleaks.data.tasks import Task, register, task_from_arrays
    from jleaks.defences.defence import Defence, defence
    from jleaks.errors import DivergedError, InputError
    from jleaks.experiments.case import Case
    from jleaks.experiments.experiment import experiment
    from jleaks.experiments.plan import Plan
    from jleaks.models.own_network import register_network
    from jleaks.training.devices import start
    from jleaks.training.execution import Execution
    from jleaks.training.recipe import Recipe

# Where each public name is.
_PUBLIC = {
    "AttackedBank": "jleaks.api.banks",
    "AuditReport": "jleaks.api.audits",
    "Case": "jleaks.experiments.case",
    "Defence": "jleaks.defences.defence",
    "DivergedError": "jleaks.errors",
    "Execution": "jleaks.training.execution",
    "InputError": "jleaks.errors",
    "Limits": "jleaks.blackbox.pace",
    "Plan": "jleaks.experiments.plan",
    "Recipe": "jleaks.training.recipe",
    "Task": "jleaks.data.tasks",
    "TrainedFleet": "jleaks.api.fleets",
    "attack": "jleaks.api.banks",
    "attack_on": "jleaks.attacks.per_record",
    "audit": "jleaks.api.audits",
    "defence": "jleaks.defences.defence",
    "endpoint": "jleaks.blackbox.client",
    "experiment": "jleaks.experiments.experiment",
    "metered": "jleaks.blackbox.client",
    "register": "jleaks.data.tasks",
    "register_network": "jleaks.models.own_network",
    "start": "jleaks.training.devices",
    "sweep": "jleaks.api.runs",
    "task_from_arrays": "jleaks.data.tasks",
    "train_bank": "jleaks.api.banks",
    "train_fleet": "jleaks.api.fleets",
}

__all__ = [
    "AttackedBank",
    "AuditReport",
    "Case",
    "Defence",
    "DivergedError",
    "Execution",
    "InputError",
    "Limits",
    "Plan",
    "Recipe",
    "Task",
    "TrainedFleet",
    "attack",
    "attack_on",
    "audit",
    "defence",
    "endpoint",
    "experiment",
    "metered",
    "register",
    "register_network",
    "start",
    "sweep",
    "task_from_arrays",
    "train_bank",
    "train_fleet",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'jleaks' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted(__all__)
