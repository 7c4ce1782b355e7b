"""Four host devices for every test, and strictness that users do not see."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import forkserver
import jax
import numpy as np
import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parents[1]
jax.config.update("jax_num_cpu_devices", 4)
# A GPU is shared with the processes that tests start: none takes most of it beforehand.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
if jax.config.jax_compilation_cache_dir is None:
    # What one worker or one module has compiled, the others read: most of the suite's time is compilation.
    jax.config.update("jax_compilation_cache_dir", str(ROOT / ".pytest_cache" / "programs"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
# Of pytest's, and another in every test.
TESTED = {"PYTEST_CURRENT_TEST": ""}
# Shapes and types at every boundary are checked under test only, in modules imported from here on.
_SHAPED = (
    *("attacks", "blackbox", "data", "metrics", "models", "report"),
    *("training.epoch", "training.fleet", "training.trainer", "experiments.subjects"),
)
_UNSHAPED = {
    # Check themselves: tests hand them what must be refused in one line.
    "jleaks.keys",
    "jleaks.metrics.epsilon",
    "jleaks.metrics.guesses",
    "jleaks.attacks.bank",
    "jleaks.blackbox.protocol",
    "jleaks.models.convolution",
    # Who registers is found on the stack.
    "jleaks.data.tasks",
    # Finds on the stack who registers: no decorator may stand between.
    "jleaks.registry",
    # Take arrays of every kind, JAX's own constants among them.
    "jleaks.models.cpu_kernels.operations",
}


def _modules():
    """Every module to check: those of the ground, and of the rooms named."""
    ground = [path.stem for path in (ROOT / "jleaks").glob("[!_]*.py")]
    for name in (*ground, *_SHAPED):
        path = ROOT / "jleaks" / name.replace(".", "/")
        files = path.rglob("[!_]*.py") if path.is_dir() else [path.with_suffix(".py")]
        yield from (".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files)


install_import_hook(sorted(set(_modules()) - _UNSHAPED), "shape_checks.checked")

from jleaks.data.tasks import TASKS  # noqa: E402
from jleaks.models.cpu_kernels import library  # noqa: E402
from jleaks.models.registry import NETWORKS  # noqa: E402
from jleaks.training import executables  # noqa: E402


def python_path(test):
    """Where a process of its own finds the checkout, what tests share, and the test's own file."""
    return os.pathsep.join(map(str, (ROOT, ROOT / "tests", Path(test).parent)))


def pytest_collection_modifyitems(items):
    if jax.default_backend() != "gpu":
        skip = pytest.mark.skip(reason="no GPU")
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(autouse=True, scope="module")
def _programs():
    """Gives the memory of compiled programs back; all tests' at once are more than Linux maps."""
    yield
    executables.forget()
    jax.clear_caches()


# A program has the same text, buffers and placement whatever LLVM makes of it: for tests of these alone.
ROUGH = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def launcher():
    """Gives the server that forks launchers, started when it is first needed."""
    started = []

    def found():
        if not started:
            started.append(forkserver.Server(ROOT))
        return started[0]

    yield found
    for server in started:
        server.close()


@pytest.fixture
def launch(launcher):
    """Runs a launcher as a user does; returns the finished process.

    It is forked from one that has imported jleaks, unless an environment or the like is the test's.
    """

    def run(module, *flags, timeout=600, **kwargs):
        words = ["-m", module, *map(str, flags)]
        if not kwargs and {**os.environ, **TESTED} == {**launcher().environment, **TESTED}:
            return launcher().run(words, ROOT, timeout)
        return subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            text=True,
            check=False,
            **{"cwd": ROOT, "timeout": timeout, **kwargs},
        )

    run.root = ROOT
    return run


@pytest.fixture(scope="session")
def kernels():
    """Builds the host kernels where launchers keep them, and loads them into this process."""
    if not any(map(shutil.which, library.COMPILERS)):
        pytest.skip("no C++ compiler")
    library.load(Path("~/.cache/jleaks/kernels").expanduser())


@pytest.fixture
def networks(monkeypatch):
    """The registry of networks, whose entries of this test are gone after it."""
    monkeypatch.setattr(NETWORKS, "_entries", dict(NETWORKS._entries))
    monkeypatch.setattr(NETWORKS, "_origins", dict(NETWORKS._origins))
    return NETWORKS


@pytest.fixture
def tasks(monkeypatch):
    """The registry of tasks, whose entries of this test are gone after it."""
    monkeypatch.setattr(TASKS, "_entries", dict(TASKS._entries))
    monkeypatch.setattr(TASKS, "_origins", dict(TASKS._origins))
    monkeypatch.setattr("jleaks.registry._LOADED", {})
    return TASKS
