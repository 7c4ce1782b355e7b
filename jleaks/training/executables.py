"""Programs compiled ahead of time.

What one takes is known before anything is moved, and what was looked at is what runs.
"""

from collections.abc import Hashable
from typing import Any, NamedTuple

import jax
import numpy as np

from jleaks.activity import doing
from jleaks.training.memory import readable


class TooLargeError(MemoryError):
    """A compiled program would take more of a device than it may; it was not run.

    Attributes:
      program: Its name.
      needed: Bytes of each device.
    """

    def __init__(self, program: str, needed: int, limit: int):
        """Made by `ready`."""
        super().__init__(
            f"the program `{program}` takes {readable(needed)} of each device, "
            f"the limit is {readable(limit)}"
        )
        self.program = program
        self.needed = needed


class Executable(NamedTuple):
    """A program compiled for arguments of one shape.

    Attributes:
      call: Runs it.
      num_bytes: Of each device while it runs, arguments included; None where XLA does not say.
    """

    call: jax.stages.Compiled
    num_bytes: int | None


_COMPILED: dict[Hashable, Executable] = {}


def ready(name: str, program: Any, args: tuple[Any, ...], limit: int | None) -> Executable:
    """Compiles a jitted program for arguments of these shapes, unless that was done before.

    Args:
      name: Of the program, for messages.
      program: Jitted.  Wherever it is called, arguments of one shape are placed in one way.
      args: Arrays, or their shapes and shardings.
      limit: Bytes of each device that it may take; None for any.

    Raises:
      TooLargeError: it takes more.
    """
    leaves, structure = jax.tree.flatten(args)
    key = program, structure, tuple((leaf.shape, np.dtype(leaf.dtype)) for leaf in leaves)
    if key not in _COMPILED:
        with doing(f"compiling {name}"):
            call = program.lower(*args).compile()
        _COMPILED[key] = Executable(call, _num_bytes(call))
    found = _COMPILED[key]
    if limit is not None and found.num_bytes is not None and found.num_bytes > limit:
        raise TooLargeError(name, found.num_bytes, limit)
    return found


def forget() -> None:
    """Lets go of all programs, so that the memory they are mapped into can be given back.

    XLA:CPU maps each program into several pieces of memory, of which Linux allows a process 65,530.
    """
    _COMPILED.clear()


def _num_bytes(call: jax.stages.Compiled) -> int | None:
    found = call.memory_analysis()
    if found is None:
        return None
    results = found.output_size_in_bytes - found.alias_size_in_bytes
    return int(found.argument_size_in_bytes + results + found.temp_size_in_bytes)
