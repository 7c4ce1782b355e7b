"""Building and loading the kernels: one shared library, compiled for this machine's processor.

The sources come with the package; a C++ compiler (`c++`, `g++` or `clang++` on the path) turns them into
a library of about 200 kB in a quarter of a minute, once for every version of sources, compiler, jaxlib and
processor.  Nothing here runs unless it is asked for.
"""

import ctypes
import hashlib
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import jax
import jaxlib

from jleaks import locks
from jleaks.errors import InputError
from jleaks.files import check_private, private_folder, replace_file

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
    "dense_private_descent",
    "dense_private_descent_bytes",
    "drop",
    "gather",
    "gather_floats",
    "normals",
    "order",
    "ranks",
    "add_influence",
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


def processor() -> str:
    """Returns what compiled code depends on: the processor's instructions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    known = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    return "\n".join(sorted(set(known))) or f"{platform.machine()} {platform.processor()}"


def _version(compiler: str) -> str:
    try:
        done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    except OSError as error:
        raise InputError(f"cannot run {compiler}: {error.strerror}") from None
    if done.returncode:
        raise InputError(f"{compiler} --version ended with status {done.returncode}")
    return done.stdout


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
    for part in (_version(compiler), jaxlib.__version__, processor(), *_OPTIONS):
        digest.update(part.encode())
    for source in sorted((*_HERE.glob("*.h"), _HERE / _SOURCE)):
        digest.update(source.read_bytes())
    path = private_folder(folder.absolute()) / f"jleaks-{digest.hexdigest()[:16]}.so"
    if _intact(path):
        return path
    try:
        # Of processes that start together one builds, and the others wait for it.
        with locks.alone(folder / "lock", lambda _: None):
            if not _intact(path):
                _compile(compiler, path)
    except OSError as error:
        raise InputError(f"cannot keep kernels in {folder}: {error.strerror}") from None
    return path


def _checksum(path: Path) -> Path:
    """Returns the file that holds a library's checksum: a truncated library is a bus error when loaded."""
    return path.with_suffix(".sha256")


def _intact(path: Path) -> bool:
    """Says whether a library is there as it was built.

    Raises:
      InputError: somebody else may have written it.
    """
    try:
        check_private(path)
        return _checksum(path).read_text() == hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, UnicodeDecodeError):
        return False


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
        # Whatever the umask is: nobody else shall change what is loaded.
        partial.chmod(0o700)
        # The checksum first: without its library, or beside an older one, it says nothing wrong.
        replace_file(_checksum(path), hashlib.sha256(partial.read_bytes()).hexdigest().encode())
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
        try:
            capsule = jax.ffi.pycapsule(getattr(library, name))
        except AttributeError:
            raise InputError(f"{path} lacks {name}: delete it") from None
        jax.ffi.register_ffi_target(f"jleaks_{name}", capsule, platform="cpu")
    _loaded.append(library)
