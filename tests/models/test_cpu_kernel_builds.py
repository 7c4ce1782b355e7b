"""The host kernels as they are compiled otherwise: for narrower vectors, and watched by a sanitizer."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jleaks.models.cpu_kernels import library

pytestmark = pytest.mark.usefixtures("kernels")

ROOT = Path(__file__).parents[2]
# Vectors of eight numbers instead of sixteen, and no masks.
PROCESSOR = "x86-64-v3"
TESTS = "dense_layer or descent or cross_entropy or pooling or adam"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other instructions")
def test_narrower_vectors_give_the_same_numbers():
    """The tests of this machine's kernels, in a process that builds them for another."""
    code = (
        "import sys, pytest; from jleaks.models.cpu_kernels import library; "
        f"library._OPTIONS = tuple(o.replace('native', {PROCESSOR!r}) for o in library._OPTIONS); "
        "options = ['-q', '-x', '-p', 'no:cacheprovider', 'tests/models/test_cpu_kernels.py', '-k']; "
        f"sys.exit(pytest.main([*options, {TESTS!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def test_kernels_stay_within_their_arrays(tmp_path):
    """Tiles and vectors may be larger than what is left of an array."""
    compiler = next(filter(None, map(shutil.which, library.COMPILERS)))
    build = [compiler, "-std=c++20", "-O1", "-march=native", "-fsanitize=address"]
    trial = tmp_path / "trial.cc"
    trial.write_text("int main() {}")
    if subprocess.run([*build, str(trial), "-o", str(tmp_path / "trial")], check=False).returncode:
        pytest.skip("no address sanitizer")
    program, source = tmp_path / "bounds", ROOT / "tests" / "host_bounds.cc"
    kernels = ROOT / "jleaks" / "models" / "cpu_kernels"
    subprocess.run([*build, f"-I{kernels}", str(source), "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert done.stdout == "inside\n", done.stderr[:2000]
