"""Being told to stop: finish the current chunk, save, leave.

Orbax's own preemption handling does nothing on a single host, so the signal is caught here and looked
at between compiled calls.
"""

import signal
import threading
from types import FrameType
from typing import Any


class Preempted(Exception):  # noqa: N818 - it is not an error: the same command continues the run
    """The run was asked to stop and has saved its state."""


class StopSignal:
    """Context manager: SIGTERM and SIGINT set a flag; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        # Only the main thread may install handlers; elsewhere (a notebook's worker) nothing is lost
        # but the polite stop.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
