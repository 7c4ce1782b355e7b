"""What a run tells: its progress while it works, and what it ran on beside its numbers."""

import dataclasses
import platform
from collections.abc import Callable
from typing import Any

from jleaks.fingerprint import FORMAT
from jleaks.fleet import make_mesh
from jleaks.plan import Execution
from jleaks.trainer import Progress
from jleaks.versions import installed

# What computes the numbers.
_PACKAGES = ("jleaks", "jax", "jaxlib", "flax", "optax", "numpy")


@dataclasses.dataclass(frozen=True)
class Reporter:
    """Where a run tells what it is doing.

    Attributes:
      line: Called with one finished sentence.
      progress: Called between chunks of training.
    """

    line: Callable[[str], None] = lambda _: None
    progress: Callable[[Progress], None] = lambda _: None


def describe_device(execution: Execution) -> str:
    """Returns platform, kind and number of the devices in use."""
    devices = list(make_mesh(execution.num_devices).devices.flat)
    kind = devices[0].device_kind
    if devices[0].platform == "cpu":
        kind = platform.processor() or platform.machine()
    return f"{devices[0].platform} {kind} x{len(devices)}"


def provenance(
    fingerprint: str | None, execution: Execution, of_format: int = FORMAT
) -> dict[str, Any]:
    """Returns the fields that every result row carries: plan, device, kernels, versions.

    Args:
      fingerprint: Of the plan; None where there is no plan, or several.
      execution: How fast.
      of_format: Of the fingerprint (see `jleaks.fingerprint`); rows that lack it are of format 1.
    """
    plan = {} if fingerprint is None else {"fingerprint": fingerprint, "format": of_format}
    return {
        **plan,
        "device": describe_device(execution),
        "kernels": execution.kernels or "xla",
        "versions": {"python": platform.python_version(), **installed(_PACKAGES)},
    }
