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

# Of XLA, for one program, by platform.  On GPUs the launches of a step are one CUDA graph only if cuDNN's
# convolutions may be in it, which by default they may not; and what adds in any order (backward filters,
# scatters) would make a resumed run differ from one that was not stopped.
_OPTIONS: dict[str, dict[str, str | bool]] = {
    "gpu": {
        "xla_gpu_enable_command_buffer": ("FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,CONVOLUTION"),
        "xla_gpu_exclude_nondeterministic_ops": True,
    }
}
# How XLA says that it does not know one.
_UNKNOWN = "No such compile option"


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
            call = compiled(program.lower(*args), _platform(leaves))
        _COMPILED[key] = Executable(call, _num_bytes(call))
    found = _COMPILED[key]
    if limit is not None and found.num_bytes is not None and found.num_bytes > limit:
        raise TooLargeError(name, found.num_bytes, limit)
    return found


def compiled(lowered: jax.stages.Lowered, platform: str) -> jax.stages.Compiled:
    """Compiles a program with the options of a platform, or without where this XLA does not know them."""
    options = _OPTIONS.get(platform)
    try:
        return lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        if options is None or _UNKNOWN not in str(error):
            raise
        return lowered.compile()


def _platform(leaves: list[Any]) -> str:
    """Returns the platform of the devices that arguments lie on, or will."""
    for leaf in leaves:
        if (sharding := getattr(leaf, "sharding", None)) is not None:
            return next(iter(sharding.device_set)).platform
    return jax.default_backend()


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
