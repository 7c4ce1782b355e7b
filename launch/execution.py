"""The flags that change only the speed, shared by every launcher that trains."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

from jleaks.errors import InputError
from jleaks.training.execution import Execution

from .fields import Fields
from .flags import SPEED, cache_folder, use_all_cores

_NAMES = [field.name for field in dataclasses.fields(Execution)]
_UNSET = {
    "num_devices": "all",
    "models_per_call": "chosen",
    "models_per_vmap": "chosen",
    "records_per_block": "chosen",
    "convolution": "the backend's fastest",
    "kernels": "host where they can be built",
}
_FIELDS = Fields(Execution, _NAMES, SPEED, unset=_UNSET)

# What else changes numbers, past JAX: sums in another order, in which a loss that is not a number may go
# unnoticed; operands cut to TF32 whatever the plan says.
_FOREIGN = {"XLA_FLAGS": "fast_math=true", "NVIDIA_TF32_OVERRIDE": "1"}


def make_execution() -> Execution:
    """Returns the execution that the flags describe."""
    return Execution(**_FIELDS.values()).validate()


def _has_gpu() -> bool:
    """Returns whether this machine has an NVIDIA GPU, whatever JAX sees."""
    if Path("/dev/nvidia0").exists():
        return True
    lister = shutil.which("nvidia-smi")
    if lister is None:
        return False
    listed = subprocess.run([lister, "-L"], capture_output=True, text=True, check=False)
    return listed.stdout.startswith("GPU")


def start(execution: Execution) -> Execution:
    """Starts JAX and chooses the kernels; returns the execution with that choice.

    Raises:
      InputError: the flags ask for kernels that cannot be had, JAX has no devices, or it is set to
        compute other numbers.
    """
    use_all_cores()
    import jax

    from jleaks import settings
    from jleaks.models.cpu_kernels import library

    settings.check()
    for name, text in _FOREIGN.items():
        if text in (found := os.environ.get(name, "")):
            raise InputError(f"{name} is {found}, which changes numbers: leave {text} out")
    # Whoever names platforms has chosen.
    if (
        jax.default_backend() == "cpu"
        and not getattr(jax.config, "jax_platforms", None)
        and _has_gpu()
    ):
        print(
            "warning: this machine has a GPU that JAX does not see, training runs on the CPU; "
            'pip install "jleaks[cuda12]", or cuda13 (JAX_PLATFORMS=cpu to have it so)',
            file=sys.stderr,
        )
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
