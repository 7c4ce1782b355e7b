"""Work of NumPy's on the host, spread over threads: its sorts and sums let each other work."""

from collections.abc import Callable, Iterable
from multiprocessing.pool import ThreadPool
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def mapped(fn: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Returns `fn` of every item, in their order; what it raises is raised here."""
    with ThreadPool() as pool:
        return pool.map(fn, items)
