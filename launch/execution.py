"""The flags that change only the speed, shared by every launcher that trains."""

import dataclasses
import os
import sys
from typing import Any, cast

from absl import flags

from jleaks import settings
from jleaks.errors import InputError
from jleaks.host import library
from jleaks.plan import Execution

from .flags import SPEED, cache_folder, use_all_cores

_DEVICES = flags.DEFINE_integer(
    "num_devices", None, "Devices to use; default all.", module_name=SPEED
)
_PER_CALL = flags.DEFINE_integer(
    "models_per_call", None, "Models one call advances; default chosen.", module_name=SPEED
)
_PER_VMAP = flags.DEFINE_integer(
    "models_per_vmap",
    None,
    "Models of a device that advance in one instruction; default chosen.",
    module_name=SPEED,
)
_PER_BLOCK = flags.DEFINE_integer(
    "records_per_block",
    None,
    "Records whose activations are alive at once; default chosen.",
    module_name=SPEED,
)
_CONVOLUTION = flags.DEFINE_enum(
    "convolution",
    None,
    ["native", "im2col", "rows", "products"],
    "How convolutions are computed; default chosen by backend.",
    module_name=SPEED,
)
_KERNELS = flags.DEFINE_enum(
    "kernels",
    None,
    ["xla", "host"],
    "What computes layers, gradients and optimiser on CPU: XLA, or jleaks' own kernels, built once with "
    "this machine's C++ compiler; default host where that works.",
    module_name=SPEED,
)
_CHUNK = flags.DEFINE_float(
    "chunk_seconds", 3.0, "Aim for the length of one call.", module_name=SPEED
)
_CHECKPOINT = flags.DEFINE_float(
    "checkpoint_seconds", 60.0, "Least time between checkpoints of a fleet.", module_name=SPEED
)

# What else changes numbers, past JAX: sums in another order, in which a loss that is not a number may go
# unnoticed; operands cut to TF32 whatever the plan says.
_FOREIGN = {"XLA_FLAGS": "fast_math=true", "NVIDIA_TF32_OVERRIDE": "1"}


def make_execution() -> Execution:
    """Returns the execution that the flags describe."""
    return Execution(
        num_devices=_DEVICES.value,
        models_per_call=_PER_CALL.value,
        models_per_vmap=_PER_VMAP.value,
        records_per_block=_PER_BLOCK.value,
        convolution=cast(Any, _CONVOLUTION.value),
        kernels=cast(Any, _KERNELS.value),
        chunk_seconds=_CHUNK.value,
        checkpoint_seconds=_CHECKPOINT.value,
    ).validate()


def start(execution: Execution) -> Execution:
    """Starts JAX and chooses the kernels; returns the execution with that choice.

    Raises:
      InputError: the flags ask for kernels that cannot be had, JAX has no devices, or it is set to
        compute other numbers.
    """
    use_all_cores()
    import jax

    settings.check()
    for name, text in _FOREIGN.items():
        if text in (found := os.environ.get(name, "")):
            raise InputError(f"{name} is {found}, which changes numbers: leave {text} out")
    if execution.kernels == "xla" or jax.default_backend() != "cpu":
        return execution
    try:
        library.load(cache_folder() / "kernels")
    except InputError as error:
        if execution.kernels == "host":
            raise
        print(f"kernels: XLA's ({error})", file=sys.stderr)
        return execution
    return dataclasses.replace(execution, kernels="host")
