"""Accelerators that are not there: compilers for them, and what is assumed of their speed.

XLA compiles for a described device on any machine.  The packages that hold the compilers lie in a folder of
their own, beside and not in the environment that trains, and only processes that compile see it.
"""

import importlib.metadata
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import finished
from jleaks.errors import InputError


class Speed(NamedTuple):
    """What is assumed of a device where times are predicted; none of it was measured here.

    Attributes:
      bytes_per_second: Of its memory, by its data sheet.
      share: Of that, what kernels reach.
      flops: FLOP/s of products by precision, by its data sheet; none where cycles are XLA's.
      flops_share: Of those, what kernels reach.
      launch: Seconds of the shortest kernel within a CUDA graph.
      alone: Of the shortest that is launched by itself.
      graph: Between one graph and the next.
      clock: Cycles a second, where XLA estimates cycles; 0 where it does not.
    """

    bytes_per_second: float
    share: float = 0.8
    flops: dict[str, float] = {}  # noqa: RUF012
    flops_share: float = 0.5
    launch: float = 1.5e-6
    alone: float = 4e-6
    graph: float = 5e-6
    clock: float = 0.0


class Topology(NamedTuple):
    """A device, or several, to compile for.

    Attributes:
      platform: "cuda" or "tpu".
      memory: Bytes of one device.
      speed: What is assumed of it.
    """

    platform: str
    memory: int
    speed: Speed


_H100 = Speed(
    3.35e12,
    flops={"float32": 67e12, "tensorfloat32": 495e12, "bfloat16": 989e12, "default": 495e12},
)
_TPUS = {
    "v4": Topology("tpu", 32 * 10**9, Speed(1.228e12, clock=1.05e9)),
    "v5e": Topology("tpu", 16 * 10**9, Speed(0.819e12, clock=1.5e9)),
    "v5p": Topology("tpu", 95 * 10**9, Speed(2.765e12, clock=1.75e9)),
    "v6e": Topology("tpu", 32 * 10**9, Speed(1.64e12, clock=1.75e9)),
}
# What --device may name, for messages.
NAMES = "h100, or a TPU and its chips as in v5e:2x2 (v4, v5e, v5p, v6e)"

_TARGET = Path(__file__).with_name("h100.txtpb")
# By platform: extra of JAX's whose pins hold, and what of it a compiler needs.
_EXTRAS = {
    "cuda": ("cuda12", ("jax-cuda12-plugin", "jax-cuda12-pjrt", "nvidia-cuda-nvcc-cu12==12.9.86")),
    "tpu": ("tpu", ("libtpu",)),
}


def find(name: str) -> Topology:
    """Returns what --device names.

    Raises:
      InputError: there is nothing of that name.
    """
    if name == "h100":
        return Topology("cuda", 84_942_979_072, _H100)
    kind, _, chips = name.partition(":")
    if kind not in _TPUS or not re.fullmatch(r"\d+(x\d+){1,2}", chips):
        raise InputError(f"--device is {name}, expected {NAMES}")
    return _TPUS[kind]


def folder(topology: Topology, packages: str) -> Path:
    """Returns the folder of a platform's compiler for the JAX of this environment."""
    version = importlib.metadata.version("jax")
    return Path(packages).expanduser() / f"{topology.platform}-{version}"


def pins(topology: Topology) -> list[str]:
    """Returns what is installed, each at the version that belongs to this environment's JAX."""
    extra, wanted = _EXTRAS[topology.platform]
    version = importlib.metadata.version("jax")
    found = []
    for name in wanted:
        own = [r for r in importlib.metadata.requires("jax") or () if r.startswith(name + "==")]
        pinned = [r.partition(";")[0].strip() for r in own if f'extra == "{extra}"' in r]
        found.append((pinned or [name if "==" in name else f"{name}=={version}"])[0])
    return found


def is_installed(topology: Topology, packages: str) -> bool:
    """Returns whether the compiler is in its folder."""
    return (folder(topology, packages) / ".installed").exists()


def install(topology: Topology, packages: str) -> Path:
    """Installs the compiler into its folder, unless it is there; returns the folder.

    Raises:
      InputError: pip failed.
    """
    target = folder(topology, packages)
    if is_installed(topology, packages):
        return target
    wanted = pins(topology)
    print(f"installing {', '.join(wanted)} into {target}", file=sys.stderr, flush=True)
    words = ["-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), *wanted]
    try:
        finished([sys.executable, *words])
    except InputError as error:
        raise InputError(f"cannot install {', '.join(wanted)} into {target}: {error}") from error
    (target / ".installed").touch()
    return target


def environment(topology: Topology, packages: str, dump: str) -> dict[str, str]:
    """Returns the environment of a process that compiles.

    Args:
      topology: What for.
      packages: Where compilers are.
      dump: Folder that XLA:GPU describes its programs in.
    """
    path = [str(folder(topology, packages)), os.environ.get("PYTHONPATH", "")]
    found = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
    }
    if topology.platform == "cuda":
        # On a machine that has a GPU, too, nothing of it may count.
        return {**found, "XLA_FLAGS": f"--xla_dump_to={dump}", "CUDA_VISIBLE_DEVICES": ""}
    tpu = {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}
    return {**found, **tpu, "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}


def devices(name: str) -> Sequence[Any]:
    """Returns devices to compile for, in a process whose environment is `environment`'s."""
    from jax.experimental import topologies

    if find(name).platform == "cuda":
        text = _TARGET.read_text()
        options = {"target_config": text, "topology": "1x1x1"}
        return topologies.get_topology_desc(name, platform="cuda", **options).devices
    return topologies.get_topology_desc(platform="tpu", topology_name=name).devices
