"""Building and loading the kernels: one shared library, compiled for this machine's processor.

The sources come with the package; a C++ compiler (`c++`, `g++` or `clang++` on the path) turns them into
a library of about 200 kB in a quarter of a minute, once for every version of sources, compiler, jaxlib and
processor.  Nothing here runs unless it is asked for.
"""

import ctypes
import fcntl
import hashlib
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import jax
import jaxlib

from jleaks.errors import InputError

_HERE = Path(__file__).parent
_SOURCE = "kernels.cc"
COMPILERS = ("c++", "g++", "clang++")
HANDLERS = (
    "adam",
    "bits",
    "convolution_forward",
    "convolution_gradients",
    "cross_entropy",
    "dense_descent",
    "dense_descent_bytes",
    "dense_forward",
    "dense_forward_bytes",
    "dense_gradients",
    "dense_gradients_bytes",
    "drop",
    "gather",
    "gather_floats",
    "order",
)
# Sums may be fused and taken in any order; infinities and NaN keep their meaning.
_OPTIONS = (
    "-std=c++20", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno",
    "-fno-trapping-math", "-fPIC", "-shared",
)  # fmt: skip

_loaded: list[ctypes.CDLL] = []


def loaded() -> bool:
    """Says whether the kernels can be called."""
    return bool(_loaded)


def _compiler() -> str:
    for name in COMPILERS:
        if found := shutil.which(name):
            return found
    raise InputError(f"no C++ compiler ({', '.join(COMPILERS)}) is on the path for the kernels")


def _processor() -> str:
    """What the compiled code depends on: the processor's instructions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    known = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    return "\n".join(sorted(set(known))) or f"{platform.machine()} {platform.processor()}"


def _version(compiler: str) -> str:
    return subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, check=True
    ).stdout


def build(folder: Path) -> Path:
    """Compiles the kernels unless `folder` has them already.

    Args:
      folder: Where libraries are kept; made if missing.

    Returns:
      The library, whose name says what it was built from.

    Raises:
      InputError: there is no compiler, it fails, or the folder cannot be written to.
    """
    compiler = _compiler()
    digest = hashlib.sha256()
    for part in (_version(compiler), jaxlib.__version__, _processor(), *_OPTIONS):
        digest.update(part.encode())
    for source in sorted((*_HERE.glob("*.h"), _HERE / _SOURCE)):
        digest.update(source.read_bytes())
    path = folder.absolute() / f"jleaks-{digest.hexdigest()[:16]}.so"
    if path.exists():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            # Of processes that start together one builds, and the others wait for it.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                _compile(compiler, path)
    except OSError as error:
        raise InputError(f"cannot keep kernels in {folder}: {error.strerror}") from None
    return path


def _compile(compiler: str, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        partial = Path(work) / path.name
        command = [compiler, *_OPTIONS, "-isystem", jax.ffi.include_dir(), str(_HERE / _SOURCE)]
        command += ["-o", str(partial)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if "error" in line]
            raise InputError(
                f"{compiler} cannot build the kernels: {(errors or ['no message'])[0]}"
            )
        partial.replace(path)


def load(folder: Path) -> None:
    """Builds the kernels if need be and makes `operations` callable on CPU devices.

    Args:
      folder: Where libraries are kept.

    Raises:
      InputError: they can be neither found nor built.
    """
    if _loaded:
        return
    path = build(folder)
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise InputError(f"cannot load the kernels: {error}") from None
    for name in HANDLERS:
        capsule = jax.ffi.pycapsule(getattr(library, name))
        jax.ffi.register_ffi_target(f"jleaks_{name}", capsule, platform="cpu")
    _loaded.append(library)
