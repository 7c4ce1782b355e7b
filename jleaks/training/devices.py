"""Starting a process: with others or alone, a host device per core, programs kept, jleaks' CPU kernels.

The only place that changes JAX's configuration, and only when it is called: by launchers, or by
`jleaks.start()`.
"""

import dataclasses
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from jleaks.errors import InputError, refuse
from jleaks.fields import Count, Number, problems
from jleaks.files import private_folder
from jleaks.training import processes
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


@dataclasses.dataclass(frozen=True)
class Companions:
    """Which processes train together: all are started with the same command, their devices are one fleet's.

    Attributes:
      distributed: Whether this process is one of several: "auto" asks srun (SLURM), mpirun (Open MPI) and
        GKE's TPU pods, "on" whatever JAX can ask, "off" nobody.
      coordinator: Where nobody can be asked, HOST:PORT of process 0, on which it listens.
      process_count: With --coordinator, how many there are.
      process_id: With --coordinator, which of them this is, from 0.
    """

    distributed: Literal["auto", "on", "off"] = "auto"
    coordinator: str | None = None
    process_count: Count | None = None
    process_id: Number | None = None

    def validate(self) -> "Companions":
        """Checks the values.

        Returns:
          The companions themselves.

        Raises:
          InputError: names every problem at once.
        """
        found, number, own = problems(self), self.process_count, self.process_id
        stated = [name for name in _STATED if getattr(self, name) is not None]
        if not found and stated:
            if number is None or own is None or self.coordinator is None:
                found.append(
                    f"{' and '.join(stated)} stated alone: {', '.join(_STATED)} go together"
                )
            elif self.distributed == "off":
                found.append(
                    "distributed is off, but there is a coordinator: leave one of them out"
                )
            else:
                host, _, port = self.coordinator.rpartition(":")
                if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
                    found.append(f"coordinator is {self.coordinator!r}, expected HOST:PORT")
                if own >= number:
                    found.append(f"process_id is {own}, expected 0..{number - 1}")
        refuse(found)
        return self

    def started(self) -> tuple[int, str]:
        """Returns how many processes were started together, and by what; 1 also where that is unknown."""
        if self.process_count is not None:
            return self.process_count, "--process_count"
        if self.distributed != "off":
            for by, count, sign in _STARTERS:
                found = os.environ.get(count, "")
                number = int(found) if found.isdecimal() else len(found.split(","))
                if sign in os.environ and number > 1:
                    return number, by
        return 1, "nobody"


_STATED = ("coordinator", "process_count", "process_id")
# Who starts several processes: where their number is (or the names of their hosts), and the sign by which
# JAX's own detection knows that there is one.
_STARTERS = (
    ("srun", "SLURM_NTASKS", "SLURM_STEP_NODELIST"),
    ("mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_MCA_orte_hnp_uri"),
    ("a TPU pod", "TPU_PROCESS_ADDRESSES", "TPU_PROCESS_ADDRESSES"),
    ("a TPU pod", "TPU_WORKER_HOSTNAMES", "TPU_WORKER_HOSTNAMES"),
)
# Seconds in which all must have come, and the exit status where they have not: as of other bad input.
_MEETING, _MISSED = 300, 2


def _check_free(port: int) -> None:
    """Checks that this process may listen on a port; JAX would crash.

    Raises:
      InputError: it may not.
    """
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        socket.create_server(("", port), family=family, dualstack_ipv6=both).close()
    except OSError as error:
        raise InputError(
            f"cannot listen on port {port} of --coordinator: {error.strerror}; name another"
        ) from error


def _join(companions: Companions, lost: Callable[[str, int], None]) -> None:
    """Connects this process with its companions, if it has any.

    Raises:
      InputError: they do not come, or have other devices.
    """
    number, by = companions.validate().started()
    if number == 1 and companions.distributed != "on":
        return
    if companions.process_id == 0:
        _check_free(int(str(companions.coordinator).rpartition(":")[2]))
    import jax
    from jax._src import distributed

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # Its handler of SIGTERM would take the place of ours.
    jax.config.update("jax_enable_preemption_service", False)
    stated, state = companions.coordinator is not None, distributed.global_state

    def missed() -> tuple[int, str]:
        return _MISSED, (
            f"{number} processes were to meet at {state.coordinator_address} within {_MEETING} s, and did "
            "not: start all of them and see that they reach it, or say --distributed=off"
        )

    processes.on_abort(missed, lost)
    failed: list[Exception] = []

    def meet() -> None:
        try:
            jax.distributed.initialize(
                companions.coordinator,
                companions.process_count,
                companions.process_id,
                cluster_detection_method="deactivate" if stated else None,
                initialization_timeout=_MEETING,
            )
        except (RuntimeError, ValueError, OSError) as error:
            failed.append(error)

    # Not here: a signal would wait for the others.
    meeting = threading.Thread(target=meet, daemon=True)
    meeting.start()
    while meeting.is_alive():
        meeting.join(0.1)
    if failed:
        said = " ".join(str(failed[0]).split())[:200]
        raise InputError(
            f"{number} processes were started by {by}, but do not come together: {said}; --distributed=off "
            "for each by itself, or name the first with --coordinator"
        ) from failed[0]
    processes.on_abort(lambda: None, lost)
    if state.num_processes > 1:
        processes.join(state.client, str(state.coordinator_address), lost)


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
    companions: Companions | None = None,
    lost: Callable[[str, int], None] = lambda *_: None,
) -> Execution:
    """Starts JAX and chooses the kernels; to be called before anything is trained.

    Args:
      execution: How fast; None for the automatic choice.
      num_cpu_devices: Number of host devices where there is no accelerator; None for one a core.
      cache: Folder in which compiled programs and kernels are kept.
      companions: The processes that train together with this one; None for no others.
      lost: See `jleaks.training.processes.join`.

    Returns:
      The execution with the choice of kernels, for whatever takes one.

    Raises:
      InputError: kernels are asked for that cannot be had, JAX has no devices, or it is set to compute
        other numbers; the other processes cannot be found.
    """
    execution = (execution or Execution()).validate()
    use_all_cores(num_cpu_devices, cache)
    if companions is not None:
        _join(companions, lost)
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
