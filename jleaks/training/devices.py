"""Starting a process: a host device per core, programs kept for the next run, jleaks' CPU kernels.

The only place that changes JAX's configuration, and only when it is called: by launchers, or by
`jleaks.start()`.
"""

import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from jleaks.errors import InputError
from jleaks.files import private_folder
from jleaks.training.execution import Execution

# Where compiled programs and kernels are kept unless one says otherwise.
CACHE = Path("~/.cache/jleaks")

# What else changes numbers, past JAX: sums in another order, in which a loss that is not a number may go
# unnoticed; operands cut to TF32 whatever the plan says.
_FOREIGN = {"XLA_FLAGS": "fast_math=true", "NVIDIA_TF32_OVERRIDE": "1"}


def use_all_cores(num_cpu_devices: int | None = None, cache: Path = CACHE) -> None:
    """Makes one host device per core, so that a fleet spreads over a CPU as over eight GPUs.

    Must run before JAX starts its backends.

    Args:
      num_cpu_devices: Number of host devices; None for one a core.
      cache: Folder in which compiled programs are kept.
    """
    import jax

    from jleaks.models.cpu_kernels import library

    jax.config.update("jax_num_cpu_devices", num_cpu_devices or len(os.sched_getaffinity(0)))
    # By processor: nodes of several kinds may share a home, and run each other's machine code.
    kind = hashlib.sha256(library.processor().encode()).hexdigest()[:8]
    try:
        programs = private_folder(cache.expanduser() / "programs" / kind)
    except InputError as error:
        print(f"compiled programs are not kept: {error}", file=sys.stderr)
        return
    jax.config.update("jax_compilation_cache_dir", str(programs))
    # Small programs by the hundred are what a short run waits for.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _has_gpu() -> bool:
    """Returns whether this machine has an NVIDIA GPU, whatever JAX sees."""
    if Path("/dev/nvidia0").exists():
        return True
    lister = shutil.which("nvidia-smi")
    if lister is None:
        return False
    listed = subprocess.run([lister, "-L"], capture_output=True, text=True, check=False)
    return listed.stdout.startswith("GPU")


def start(
    execution: Execution | None = None,
    num_cpu_devices: int | None = None,
    cache: Path = CACHE,
) -> Execution:
    """Starts JAX and chooses the kernels; to be called before anything is trained.

    Args:
      execution: How fast; None for the automatic choice.
      num_cpu_devices: Number of host devices where there is no accelerator; None for one a core.
      cache: Folder in which compiled programs and kernels are kept.

    Returns:
      The execution with the choice of kernels, for whatever takes one.

    Raises:
      InputError: kernels are asked for that cannot be had, JAX has no devices, or it is set to compute
        other numbers.
    """
    execution = (execution or Execution()).validate()
    use_all_cores(num_cpu_devices, cache)
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
        library.load(cache.expanduser() / "kernels")
    except InputError as error:
        if execution.kernels == "host":
            raise
        print(f"kernels: XLA's ({error})", file=sys.stderr)
        return execution
    return dataclasses.replace(execution, kernels="host")
