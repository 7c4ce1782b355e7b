"""Four host devices for every test, and strictness that users do not see."""

import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jaxtyping import install_import_hook

from jleaks import executables
from jleaks.host import library

jax.config.update("jax_num_cpu_devices", 4)
# Shapes and types at every boundary are checked under test only.
_SHAPED = (
    "attacks",
    "augmentation",
    "blackbox",
    "defences",
    "embedding",
    "encodings",
    "evaluate",
    "fleet",
    "forest",
    "metrics",
    "models",
    "probabilities",
    "signals",
    "splits",
    "stack",
    "train",
    "trained",
    "trainer",
    "truth",
)
install_import_hook([f"jleaks.{module}" for module in _SHAPED], "beartype.beartype")

ROOT = Path(__file__).resolve().parents[1]


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


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def launch():
    """Runs a launcher as a user does; returns the finished process."""

    def run(module, *flags, **kwargs):
        return subprocess.run(
            [sys.executable, "-m", module, *map(str, flags)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            **kwargs,
        )

    run.root = ROOT
    return run


@pytest.fixture(scope="session")
def kernels():
    """Builds the host kernels where launchers keep them, and loads them into this process."""
    if not any(map(shutil.which, library.COMPILERS)):
        pytest.skip("no C++ compiler")
    library.load(Path("~/.cache/jleaks/kernels").expanduser())
