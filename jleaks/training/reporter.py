"""What a run reports: its progress while it works, and what it ran on beside its numbers."""

import dataclasses
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jleaks.fingerprint import FORMAT
from jleaks.training.execution import Execution
from jleaks.training.fleet import make_mesh
from jleaks.training.progress import Progress
from jleaks.versions import installed

# What computes the numbers.
_PACKAGES = ("jleaks", "jax", "jaxlib", "flax", "optax", "numpy")


@dataclasses.dataclass(frozen=True)
class Reporter:
    """Where a run reports what it is doing.

    Attributes:
      line: Called with one finished sentence.
      progress: Called between chunks of training.
      expect: Called once, with the FLOPs of the fleets that a run is going to train, by name and in order;
        from them and a fleet's own progress follows what remains of the whole run (`remaining`).
    """

    line: Callable[[str], None] = lambda _: None
    progress: Callable[[Progress], None] = lambda _: None
    expect: Callable[[Mapping[str, float]], None] = lambda _: None


def remaining(progress: Progress, work: Mapping[str, float]) -> float | None:
    """Returns the seconds that a run's fleets still need, at the FLOP rate of the one in training.

    Compilation, asking and attack models are not in it.

    Args:
      progress: Of one fleet; those before it are behind the run.
      work: FLOPs of the run's fleets by name, in order.

    Returns:
      The seconds; None where the fleet is not one of them, or has no epoch left to tell a rate by.
    """
    left = progress.total - progress.done
    if not left or not work.get(progress.fleet):
        return None
    names = list(work)
    later = sum(work[name] for name in names[names.index(progress.fleet) + 1 :])
    per_flop = progress.eta / left * progress.total / work[progress.fleet]
    return progress.eta + later * per_flop


# Losses of two models that were trained alike are worth a line if they differ by this factor and, in nats,
# by this much: among models that have memorised their members, factors alone say nothing.
_LOSS_FACTOR, _LOSS_GAP = 3.0, 0.05


def loss_warning(what: str, target: float, shadow: float) -> str | None:
    """Returns a sentence if a target and its shadow, trained alike, ended at very different losses.

    Adam's loss spikes now and then; a model whose last step lies on a spike is not the model that its
    accuracy at other times would make one expect.

    Args:
      what: Names the two.
      target: Mean cross-entropy (nats) on its own members at its final weights.
      shadow: Of the shadow, likewise.
    """
    low, high = sorted((target, shadow))
    if high <= _LOSS_FACTOR * low or high - low <= _LOSS_GAP:
        return None
    return (
        f"{what}: the final loss on its own members is {target:.3g} for the target and {shadow:.3g} for "
        "the shadow, which was trained alike: one of them may have ended on a spike of the loss"
    )


def collapse_line(collapsed: Sequence[str], num_models: int) -> str:
    """Returns a sentence on attack models that have collapsed (see `jleaks.metrics.case_metrics.OwnRows`).

    Args:
      collapsed: Their names, at least one.
      num_models: Of how many.
    """
    shown = ", ".join(collapsed[:3]) + (", ..." if len(collapsed) > 3 else "")
    return (
        f"{len(collapsed)} of {num_models} attack models collapsed, calling nobody or everybody of their "
        f"own rows a member at the 0.5 cut: {shown}"
    )


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
