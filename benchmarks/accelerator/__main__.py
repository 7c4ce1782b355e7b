"""`python -m benchmarks.accelerator`."""

from benchmarks.accelerator import accelerator
from launch.flags import run

run(accelerator.main, "python -m benchmarks.accelerator", accelerator.__doc__ or "")
