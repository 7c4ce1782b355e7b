"""What this process is doing right now, for whoever shows its progress.

Work that may take long without a word says what it is (`doing`); whoever shows progress repeats it while
nothing else is said (`current`).
"""

import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple


class Activity(NamedTuple):
    """What is being done, from the whole to the part, and since when by the monotonic clock."""

    text: str
    began: float


_STACK: list[Activity] = []


@contextlib.contextmanager
def doing(text: str) -> Iterator[None]:
    """Says what is done inside, for example "compiling fit"."""
    own = Activity(text, time.monotonic())
    _STACK.append(own)
    try:
        yield
    finally:
        _STACK.remove(own)


def current() -> Activity | None:
    """Returns what is under way, and since when its innermost part is; None if there is nothing.

    Example: "task 2 of 3, training news, compiling fit".
    """
    # A copy: other threads ask.
    if not (stack := _STACK[:]):
        return None
    return Activity(", ".join(one.text for one in stack), stack[-1].began)
