"""jleaks: how much a machine-learning model gives away about who was in its training data.

The names below are all that most users need; each is imported when it is first used, so that
`import jleaks` is quick and starts no device.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jleaks.api import AuditReport, audit
    from jleaks.errors import DivergedError, InputError
    from jleaks.training.execution import Execution
    from jleaks.training.recipe import Recipe

# Where each public name is.
_PUBLIC = {
    "AuditReport": "jleaks.api",
    "DivergedError": "jleaks.errors",
    "Execution": "jleaks.training.execution",
    "InputError": "jleaks.errors",
    "Recipe": "jleaks.training.recipe",
    "audit": "jleaks.api",
}

__all__ = ["AuditReport", "DivergedError", "Execution", "InputError", "Recipe", "audit"]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'jleaks' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted(__all__)
