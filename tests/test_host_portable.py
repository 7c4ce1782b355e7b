"""The host kernels as they are compiled for processors with narrower vectors than this machine's."""

import platform
import subprocess
import sys

import pytest
from kernels import needs_compiler

pytestmark = needs_compiler

# Vectors of eight numbers instead of sixteen, and no masks.
PROCESSOR = "x86-64-v3"
TESTS = "dense_layer or descent or cross_entropy or pooling or adam"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other instructions")
def test_narrower_vectors_give_the_same_numbers():
    """The tests of this machine's kernels, in a process that builds them for another."""
    code = (
        "import sys, pytest; from jleaks.host import library; "
        f"library._OPTIONS = tuple(o.replace('native', {PROCESSOR!r}) for o in library._OPTIONS); "
        "options = ['-q', '-x', '-p', 'no:cacheprovider', 'tests/test_host.py', '-k']; "
        f"sys.exit(pytest.main([*options, {TESTS!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
