"""Being told to stop: save what is being trained, leave with a status of its own.

Orbax's own preemption handling does nothing on a single host, so the signals are caught here. Training
looks at them between compiled calls, because the state on the devices is saved first. Whatever else a
command does is either kept already or written whole at its end, so that it stops at once.
"""

import contextlib
import gc
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from jleaks.training import processes

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

# Seconds after which a stop that went unheard is raised again, and one that could not be raised yet.
_AGAIN, _SOON = 0.5, 0.01


class Preempted(BaseException):
    """The run was asked to stop and has saved its state.

    As with KeyboardInterrupt, code that handles any `Exception` lets it pass.
    """


def _is_dropped(frame: FrameType | None) -> bool:
    """Whether Python drops what is raised here, in a finalizer or a callback of its garbage collector."""
    called = {getattr(fn, "__code__", None) for fn in gc.callbacks}
    while frame is not None:
        if frame.f_code in called or frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def _leave(number: int, frame: FrameType | None) -> None:
    """Handles a signal that arrives while nothing has to be saved; a second SIGINT interrupts at once."""
    stopped = Preempted(f"stopped by {signal.Signals(number).name}")

    def again(_: int, frame: FrameType | None) -> None:
        # Whoever cleans up because of it is left alone.
        cause = sys.exception()
        while cause is not None and cause is not stopped:
            cause = cause.__context__
        if cause is None and not _is_dropped(frame):
            raise stopped

    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Some finalizers are not seen, such as those of C and of weak references.
    signal.signal(signal.SIGALRM, again)
    if _is_dropped(frame):
        signal.setitimer(signal.ITIMER_REAL, _SOON, _AGAIN)
    else:
        signal.setitimer(signal.ITIMER_REAL, _AGAIN, _AGAIN)
        raise stopped


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Turns SIGTERM and SIGINT into `Preempted` while the block runs, wherever the program is.

    A `StopSignal` inside takes over for as long as something must be saved first.

    Raises:
      Preempted: a signal arrived.
    """
    with _handled(_leave):
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def _handled(handler: Any) -> Iterator[dict[signal.Signals, Any]]:
    """Handles the signals in another way while the block runs; yields how they were handled before."""
    # Only the main thread may install handlers; elsewhere (a notebook's worker) nothing is lost but
    # the polite stop.
    main = threading.current_thread() is threading.main_thread()
    previous: dict[signal.Signals, Any] = {
        number: signal.signal(number, handler) for number in _SIGNALS if main
    }
    try:
        yield previous
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


class StopSignal:
    """Context manager: SIGTERM and SIGINT set a flag; a second SIGINT interrupts at once.

    Attributes:
      received: The signal's number; None as long as none arrived.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._handlers = contextlib.ExitStack()
        self._inside_stoppable = False

    def __enter__(self) -> "StopSignal":
        previous = self._handlers.enter_context(_handled(self._handle))
        self._inside_stoppable = _leave in previous.values()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._handlers.close()
        # Nobody looked at it any more: what follows would go on as if nothing had been said.
        if kind is None and self.received is not None and self._inside_stoppable:
            _leave(self.received, None)

    def agreed(self) -> bool:
        """Whether a signal has arrived, at this process or one that trains with it; all ask together."""
        return bool(processes.numbers(self.received is not None).any())

    def check(self, doing: str) -> None:
        """Stops here if a signal has arrived.

        Args:
          doing: What was going on, for the message; everything of it that is worth keeping is kept.

        Raises:
          Preempted: a signal has arrived.
        """
        if self.received is not None:
            raise Preempted(f"stopped while {doing}")

    def _handle(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
