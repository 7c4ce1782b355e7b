"""Several processes that train one fleet: what they agree on, and how they end together.

Every process runs the same program on the same plan. The devices of all are one mesh, and what they compute
is gathered on every process (`jleaks.training.placement.fetch`), so that all go on alike. Whatever may
differ between processes (the clock, free memory, signals, the disk) is asked of the first, or agreed on,
here. The first process alone reads and writes the run's directory; the others are told what it finds there.

A process that fails says so to the others, and one that has fallen silent is missed: each then ends with
one line. With one process, nothing here does anything.
"""

import contextlib
import ctypes
import functools
import hashlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import numpy as np

from jleaks.errors import STOPPED, InputError

T = TypeVar("T")

# Seconds between two signs of life, after which a process without any is taken for dead, and between a
# process's failure and the end of the others, which may fail at the same place by themselves.
_BEAT, _SILENT, _GRACE = 1.0, 30.0, 4.0
# Bytes that one collective call exchanges, of all processes together.
_MOST_BYTES = 1 << 26
# Milliseconds that those which have finished wait for the others.
_FOREVER = 1 << 30

# How an end is told: the exit status, and the line.
_End = tuple[int, str]


class _Group:
    """The processes that were joined, as one of them sees them."""

    def __init__(self, client: Any, coordinator: str, lost: Callable[[str, int], None]):
        import jax

        self.client, self.coordinator, self._lost = client, coordinator, lost
        self.count, self.index = jax.process_count(), jax.process_index()
        self.sharing = 1
        self.finished = threading.Event()
        self._ending = False
        self._heard = dict.fromkeys(range(self.count), ("", time.monotonic()))
        self._answered = time.monotonic()
        if self.index > 0:
            on_abort(self._aborted, lost)
        threading.Thread(target=self._watch, daemon=True).start()

    def leave(self, status: int, line: str, *, told: bool = False) -> NoReturn:
        """Ends this process now; `told` by another, or for the others to hear."""
        self._ending = True
        if told:
            self._lost(line, status)
        else:
            place = "verdict" if self.index == 0 else "ended"
            # Unless the others are gone as well.
            with contextlib.suppress(RuntimeError):
                self._tell(f"{place}/{self.index}", status, self._named(self.index, line))
        if self.index == 0:
            # The others hear of it from here.
            time.sleep(3 * _BEAT)
        sys.stdout.flush()
        sys.stderr.flush()
        # Whatever waits for the others at exit would wait in vain.
        os._exit(status)

    def _named(self, index: int, line: str) -> str:
        return f"process {index} of {self.count}: {line}"

    def _tell(self, place: str, status: int, line: str) -> None:
        self.client.key_value_set(
            f"jleaks/{place}", json.dumps([status, line]), allow_overwrite=True
        )

    def _told(self, place: str) -> list[_End]:
        found = self.client.key_value_dir_get(f"jleaks/{place}/")
        return [(status, line) for status, line in (json.loads(value) for _, value in found)]

    def _watch(self) -> None:
        """Gives signs of life, and looks for those of the others; a thread of its own."""
        beat = 0
        while not self.finished.wait(_BEAT):
            beat += 1
            try:
                key = f"jleaks/alive/{self.index}"
                self.client.key_value_set(key, str(beat), allow_overwrite=True)
                if self.index == 0:
                    self._judge()
                ends = self._told("verdict")
                self._answered = time.monotonic()
            except RuntimeError:
                if time.monotonic() - self._answered > _SILENT:
                    ends = [self._silent(0)]
                else:
                    continue
            if ends and not self._ending and not self.finished.is_set():
                self.leave(*ends[0], told=True)

    def _judge(self) -> None:
        """On the first process: says what the others are to end with, if one has failed or is silent."""
        now = time.monotonic()
        for key, value in self.client.key_value_dir_get("jleaks/alive/"):
            index = int(key.rsplit("/", 1)[1])
            if self._heard[index][0] != value:
                self._heard[index] = value, now
        ends = self._told("ended")
        if ends:
            # Those that fail alike have their own lines.
            time.sleep(_GRACE)
        ends += [self._silent(i) for i, (_, at) in self._heard.items() if now - at > _SILENT]
        if ends and not self._ending:
            self._tell("verdict/0", *ends[0])

    def _silent(self, index: int) -> _End:
        return STOPPED, self._named(
            index, f"no sign of life for {_SILENT:.0f} s; the same command continues"
        )

    def _aborted(self) -> _End | None:
        """Says with what to end where JAX aborts, if that is because the first process is gone."""
        host, port = self.coordinator.rsplit(":", 1)
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        except OSError:
            self._ending = True
            return STOPPED, self._named(0, "it is gone; the same command continues")
        return None


_GROUP: _Group | None = None


def count() -> int:
    """Returns how many processes train together."""
    return 1 if _GROUP is None else _GROUP.count


def index() -> int:
    """Returns which of them this is, from 0."""
    return 0 if _GROUP is None else _GROUP.index


def is_first() -> bool:
    """Returns whether this process reads and writes the run's directory, and says what is going on."""
    return index() == 0


def sharing() -> int:
    """Returns how many of the processes share this one's machine."""
    return 1 if _GROUP is None else _GROUP.sharing


# What C's `signal` was handed: it keeps no reference.
_HANDLER: list[Any] = []


def on_abort(explain: Callable[[], _End | None], lost: Callable[[str, int], None]) -> None:
    """Ends this process in one line where JAX's distributed client would abort it.

    That client takes a callback for it, which fails before it is called (std::bad_cast, JAX 0.10); and
    a handler of Python's runs too late.

    Args:
      explain: Returns exit status and line; None if something else is the reason, of which something else
        tells.
      lost: Called with line and status.
    """
    c_signal = ctypes.CDLL(None).signal

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def aborted(_: int) -> None:
        if (end := explain()) is not None:
            lost(end[1], end[0])
            os._exit(end[0])
        c_signal(int(signal.SIGABRT), ctypes.c_void_p(int(signal.SIG_DFL)))

    _HANDLER[:] = [aborted]
    c_signal(int(signal.SIGABRT), aborted)


def join(client: Any, coordinator: str, lost: Callable[[str, int], None]) -> None:
    """Makes this process one of several, once `jax.distributed` has connected them.

    Args:
      client: Of JAX's distributed runtime.
      coordinator: HOST:PORT of the first process's service.
      lost: Called with a line and an exit status, right before this process ends because of another;
        from any thread.

    Raises:
      InputError: the processes have other devices or versions.
    """
    global _GROUP
    import jax

    _GROUP = _Group(client, coordinator, lost)
    local = jax.local_devices()
    same(
        f"{len(local)} {local[0].platform} devices",
        "with --num_cpu_devices or on machines of one kind",
    )
    hosts = _texts(socket.gethostname())
    _GROUP.sharing = hosts.count(hosts[_GROUP.index])


@functools.cache
def _program(of_first: bool) -> tuple[Any, Any, Any]:
    """Returns what gathers one row of bytes from every process, how they lie, and this one's device."""
    import jax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    devices: dict[int, Any] = {}
    for device in jax.devices():
        devices.setdefault(device.process_index, device)
    mesh = Mesh(np.array([devices[i] for i in sorted(devices)]), ("process",))
    own, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("process",), ()))
    gather = jax.jit(lambda rows: rows[0] if of_first else rows, out_shardings=whole)
    return gather, own, devices[jax.process_index()]


def exchange(block: np.ndarray, of_first: bool = False) -> np.ndarray:
    """Returns what every process has, [processes, ...]; all call it, with arrays of one type and shape.

    Args:
      block: What this process has.
      of_first: Whether only the first one's is wanted, of shape [...].
    """
    if _GROUP is None:
        return block if of_first else block[None]
    import jax

    gather, own, device = _program(of_first)
    mine = np.ascontiguousarray(block).reshape(-1).view(np.uint8)
    found = np.empty((mine.size,) if of_first else (_GROUP.count, mine.size), np.uint8)
    most = max(1, _MOST_BYTES // _GROUP.count)
    for start in range(0, mine.size, most):
        part = mine[start : start + most]
        # Few widths, each of which is a compiled program.
        width = min(most, 1 << max(6, (part.size - 1).bit_length()))
        row = np.zeros((1, width), np.uint8)
        row[0, : part.size] = part
        rows = jax.make_array_from_single_device_arrays(
            (_GROUP.count, width), own, [jax.device_put(row, device)]
        )
        whole = np.asarray(gather(rows).addressable_data(0))
        found[..., start : start + part.size] = whole[..., : part.size]
    shape = block.shape if of_first else (_GROUP.count, *block.shape)
    return found.view(block.dtype).reshape(shape)


def numbers(*values: float) -> np.ndarray:
    """Returns some numbers of every process, [processes, numbers] float64."""
    return exchange(np.array(values, np.float64))


def barrier() -> None:
    """Waits until all processes are here."""
    numbers(0)


def _texts(text: str) -> list[str]:
    """Returns a text of every process."""
    raw = text.encode()
    sizes = numbers(len(raw))[:, 0].astype(int)
    block = np.zeros(sizes.max(), np.uint8)
    block[: len(raw)] = np.frombuffer(raw, np.uint8)
    rows = exchange(block)
    return [row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)]


def same(what: str, remedy: str) -> None:
    """Checks that something is alike on all processes.

    Args:
      what: The thing itself, or a description that differs where it does.
      remedy: What to do if it is not.

    Raises:
      InputError: it is not; on every process.
    """
    if _GROUP is None:
        return
    # What it is, is told only where it differs.
    digest = np.frombuffer(hashlib.sha256(what.encode()).digest(), np.uint8)
    if (exchange(digest) == digest).all():
        return
    texts = _texts(what)
    other = next(i for i, text in enumerate(texts) if text != texts[0])
    raise InputError(
        f"process 0 of {_GROUP.count} has {texts[0]:.200}, process {other} has {texts[other]:.200}: "
        f"start all alike, {remedy}"
    )


def first(fn: Callable[[], T]) -> T:
    """Returns what a function returns on the first process, which alone calls it.

    Args:
      fn: Returns what JSON can hold. Where it raises, the first process ends, and the others with it.
    """
    if _GROUP is None:
        return fn()
    raw = json.dumps(fn()).encode() if is_first() else b""
    size = int(numbers(len(raw))[0, 0])
    block = np.zeros(size, np.uint8)
    block[: len(raw)] = np.frombuffer(raw, np.uint8)
    found: T = json.loads(exchange(block, of_first=True).tobytes())
    return found


def first_arrays(fn: Callable[[], Any], like: T) -> T:
    """The same of a tree of arrays, whose shapes and types all processes know.

    Args:
      fn: Returns the tree, on the host.
      like: A tree of arrays, or of their shapes and types.
    """
    if _GROUP is None:
        alone: T = fn()
        return alone
    import jax

    # What the others have is overwritten; its shapes and types count.
    tree = fn() if is_first() else jax.tree.map(lambda a: np.empty(a.shape, a.dtype), like)
    return jax.tree.map(lambda leaf: exchange(leaf, of_first=True), tree)


def end(status: int, line: str | None = None) -> None:
    """Ends this process with the others: waits for them if all is well, tells them if it is not.

    Args:
      status: Exit status, for a process that does not return.
      line: Why it ends; None where it has finished.
    """
    if _GROUP is None:
        return
    if line is not None:
        _GROUP.leave(status, line)
    import jax

    _GROUP.client.wait_at_barrier("jleaks/finished", _FOREVER)
    _GROUP.finished.set()
    jax.distributed.shutdown()


def await_end(error: BaseException) -> None:
    """Waits for the end that the others' brings, where an error may be no more than its consequence."""
    if _GROUP is None:
        return
    import jax

    if isinstance(error, (jax.errors.JaxRuntimeError, ValueError)):
        time.sleep(_SILENT + 2 * _GRACE)
