"""Which kernels a device's time goes to: what JAX's profiler saw on its streams."""

import collections
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jleaks.errors import InputError

# Kernels that a row names, the longest first.
_NAMED = 24


class Event(NamedTuple):
    """A kernel that ran.

    Attributes:
      name: XLA's, or the library's.
      start: Nanoseconds.
      length: Nanoseconds.
    """

    name: str
    start: float
    length: float


def traced(run_fn: Callable[[], Any]) -> list[Event]:
    """Runs a function under JAX's profiler; returns what ran on the first device's streams.

    Raises:
      InputError: the profiler saw no kernel.
    """
    from jax.profiler import ProfileData

    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run_fn()
        (path,) = Path(folder).rglob("*.xplane.pb")
        planes = list(ProfileData.from_file(str(path)).planes)
        found = [
            Event(event.name, event.start_ns, event.duration_ns)
            for plane in planes
            if plane.name.startswith("/device:")
            for line in plane.lines
            # Beside streams there are lines that say the same by operation and module.
            if (line.name or "").startswith("Stream")
            for event in line.events
        ]
        if not found:
            seen = {plane.name: [line.name for line in plane.lines][:8] for plane in planes}
            raise InputError(f"the profiler saw no kernels, but {seen}"[:300])
    return found


def busy(events: Iterable[Event]) -> float:
    """Returns the nanoseconds in which at least one kernel ran."""
    total, until = 0.0, float("-inf")
    for event in sorted(events, key=lambda e: e.start):
        end = event.start + event.length
        total += max(0.0, end - max(event.start, until))
        until = max(until, end)
    return total


def summed(events: Iterable[Event], steps: int) -> dict[str, Any]:
    """Returns what kernels took, by name.

    Args:
      events: Of all steps.
      steps: By which everything is divided.

    Returns:
      Microseconds and launches of a step; microseconds in which anything ran, and from the first kernel's
      start to the last one's end; for the longest kernels name, launches and microseconds.
    """
    events = list(events)
    lengths: dict[str, float] = collections.defaultdict(float)
    counts = collections.Counter(event.name for event in events)
    for event in events:
        lengths[event.name] += event.length
    first, last = min(e.start for e in events), max(e.start + e.length for e in events)

    def micro(nanoseconds: float) -> float:
        return round(nanoseconds / steps / 1e3, 3)

    return {
        "microseconds": micro(sum(lengths.values())),
        "busy_microseconds": micro(busy(events)),
        "span_microseconds": micro(last - first),
        "launches": round(len(events) / steps, 2),
        "names": len(counts),
        "longest": [
            {
                "name": name[:120],
                "launches": round(counts[name] / steps, 3),
                "microseconds": micro(n),
            }
            for name, n in sorted(lengths.items(), key=lambda found: -found[1])[:_NAMED]
        ],
    }
