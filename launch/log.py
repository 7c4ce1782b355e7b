"""What a launcher prints while it works."""

import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from jleaks.training.trainer import Progress


def console() -> Console:
    """Returns the standard output; a log file is not a terminal, so tables get their room there."""
    return Console(width=None if sys.stdout.isatty() else 160)


class Log:
    """Progress as plain lines, at most one every few seconds, each fleet's last one always."""

    def __init__(self, console: Console, every: float = 10.0):
        self._console, self._every, self._last = console, every, 0.0

    def line(self, text: str) -> None:
        """Prints a finished sentence."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def progress(self, p: "Progress") -> None:
        """Prints where a fleet's training stands."""
        now = time.monotonic()
        if p.done < p.total and now - self._last < self._every:
            return
        self._last = now
        self.line(
            f"  {p.fleet}: {p.done}/{p.total} model-epochs ({100 * p.done / p.total:.0f}%), "
            f"loss {p.loss:.4f}, {p.seconds:.0f} s, {p.eta:.0f} s to go"
        )
