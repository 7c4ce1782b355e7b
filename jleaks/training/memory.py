"""Memory: what a device has, what a traced function needs, and running out of it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from jax.extend import core

from jleaks.errors import InputError
from jleaks.training import processes

_MEMINFO = "proc/meminfo"
_CGROUP = "proc/self/cgroup"
# By version: folder, limit, usage, and the page cache within the usage that the kernel gives back.
_CGROUP_1 = "sys/fs/cgroup/memory", "limit_in_bytes", "usage_in_bytes", "total_inactive_file"
_CGROUP_2 = "sys/fs/cgroup", "max", "current", "inactive_file"
# How XLA and CUDA say that memory is full.
_EXHAUSTED = "RESOURCE_EXHAUSTED", "OUT_OF_MEMORY"


def device_memory(device: jax.Device, num_devices: int | None = None) -> int:
    """Returns the bytes one device may use; host devices share the machine's available memory.

    Args:
      device: Any.
      num_devices: Host devices that share; None for all of this process.

    Raises:
      InputError: an accelerator does not say.
    """
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0))
    if device.platform != "cpu":
        raise InputError(
            f"{device.device_kind} does not say how much memory it has (XLA_PYTHON_CLIENT_ALLOCATOR is "
            f"{os.environ.get('XLA_PYTHON_CLIENT_ALLOCATOR', 'unset')}): unset it"
        )
    return available_memory() // (num_devices or jax.local_device_count()) // processes.sharing()


def available_memory(root: Path = Path("/")) -> int:
    """Returns the bytes that this process could still take on the host, page cache included.

    Args:
      root: Of the file system that describes the machine.
    """
    return min([_machine(root), *_control_groups(root)])


def _machine(root: Path) -> int:
    try:
        for line in (root / _MEMINFO).read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return 1024 * int(value.split()[0])
    except (OSError, ValueError):
        pass
    # Where there is no such file: free pages, without those of the page cache.
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _control_groups(root: Path) -> Iterator[int]:
    """Yields what the process' control groups, and those around them, leave it (Linux)."""
    try:
        lines = (root / _CGROUP).read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base, limit, usage, cache = _CGROUP_1 if controllers else _CGROUP_2
        # In a container the path may be one of the machine outside, of which only the top is there.
        steps = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(steps) + 1):
            folder = root.joinpath(base, *steps[:depth])
            try:
                most = (folder / f"memory.{limit}").read_text().strip()
                used = int((folder / f"memory.{usage}").read_text())
                rows = (folder / "memory.stat").read_text().splitlines()
                stat = dict(row.split(maxsplit=1) for row in rows)
                if most != "max":
                    yield max(0, int(most) - used + int(stat.get(cache, 0)))
            except (OSError, ValueError):
                continue


def peak_bytes(jaxpr: core.Jaxpr) -> int:
    """Returns the most bytes of intermediate values and results that are alive at once.

    Counted operation by operation in the order of the trace, as if nothing were fused or computed in
    place.
    """
    last: dict[Any, int] = {}
    for i, equation in enumerate(jaxpr.eqns):
        last |= {v: i for v in equation.invars if not isinstance(v, core.Literal)}
    last |= {v: len(jaxpr.eqns) for v in jaxpr.outvars if not isinstance(v, core.Literal)}
    alive: dict[Any, int] = {}
    total = peak = 0
    for i, equation in enumerate(jaxpr.eqns):
        made = {v: _num_bytes(v.aval) for v in equation.outvars}
        inside = (peak_bytes(inner) for inner in core.jaxprs_in_params(equation.params))
        peak = max(peak, total + max(sum(made.values()), *inside, 0))
        alive |= {v: size for v, size in made.items() if v in last}
        done = {v for v in equation.invars if not isinstance(v, core.Literal) and last[v] == i}
        total += sum(made[v] for v in made if v in last) - sum(alive.pop(v, 0) for v in done)
    return max(peak, total)


def has_operation(jaxpr: core.Jaxpr, name: str) -> bool:
    """Returns whether a traced function, or any within it, has an operation of this name."""
    return any(
        equation.primitive.name == name
        or any(has_operation(inner, name) for inner in core.jaxprs_in_params(equation.params))
        for equation in jaxpr.eqns
    )


def _num_bytes(value: Any) -> int:
    return value.size * value.dtype.itemsize


def exhausted(error: Exception) -> bool:
    """Tells whether an error means that a device or the host ran out of memory."""
    if isinstance(error, jax.errors.JaxRuntimeError):
        return any(words in str(error) for words in _EXHAUSTED)
    return isinstance(error, MemoryError)


def readable(num_bytes: float) -> str:
    """Returns a number of bytes with a decimal unit, to two digits or more."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000 or unit == "GB":
            break
        num_bytes /= 1000
    return (
        f"{num_bytes:.1f} {unit}" if num_bytes < 10 and unit != "B" else f"{num_bytes:.0f} {unit}"
    )
