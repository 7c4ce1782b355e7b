"""Four host devices for every test, and strictness that users do not see."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jaxtyping import install_import_hook

from jleaks.models.cpu_kernels import library
from jleaks.training import executables

jax.config.update("jax_num_cpu_devices", 4)
# Shapes and types at every boundary are checked under test only.  Plans and recipes check themselves, and
# tests hand them what they must refuse.
_SHAPED = (
    "attacks.attack_models",
    "attacks.baseline",
    "attacks.bavaria",
    "attacks.calibration",
    "attacks.evaluate_cases",
    "attacks.lira",
    "attacks.probabilities",
    "attacks.reference_statistics",
    "attacks.references",
    "attacks.rmia",
    "attacks.sides",
    "attacks.signals",
    "attacks.sums",
    "attacks.threshold",
    "attacks.two_floats",
    "blackbox",
    "data.augmentation",
    "data.encodings",
    "data.splits",
    "data.truth",
    "experiments.subjects",
    "metrics.case_metrics",
    "metrics.embedding",
    "models.convolution",
    "models.forest",
    "models.networks",
    "models.stacking",
    "training.epoch",
    "training.fleet",
    "training.trainer",
)
install_import_hook([f"jleaks.{module}" for module in _SHAPED], "shape_checks.checked")

ROOT = Path(__file__).resolve().parents[1]


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
