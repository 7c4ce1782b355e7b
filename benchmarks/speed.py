"""All benchmarks of speed, one after another, and the page about them: under 20 minutes on two cores.

python -m benchmarks.speed --results=results/speed --page=benchmarks/README.md
python -m benchmarks.speed --only=page

The machine should do nothing else meanwhile.  A benchmark that fails is named at the end; the others run.
"""

import subprocess
import sys
import time
from pathlib import Path

from absl import flags

from benchmarks.pages import speed as speed_page
from jleaks.errors import InputError
from launch.flags import run

_RESULTS = flags.DEFINE_string(
    "results", "results/speed", "Where rows are appended.", module_name="Where"
)
_PAGE = flags.DEFINE_string(
    "page", "benchmarks/README.md", "The page to write.", module_name="Where"
)
_ONLY = flags.DEFINE_list(
    "only", None, "Run only these; page for none.", module_name="What is measured"
)

# By name of the rows' file: the module and flags that keep all within the time.
RUNS: dict[str, list[str]] = {
    "training": [
        "benchmarks.training", "--num_models=32", "--repetitions=2",
        "--contenders=jleaks,torch_fused,torch_processes,torch_func_compiled",
    ],
    "profile": ["benchmarks.scaling.step_profile", "--repetitions=3"],
    "growth": ["benchmarks.scaling.growth"],
    "packing": ["benchmarks.scaling.packing"],
    "start_up": ["benchmarks.scaling.start_up"],
    "precision": ["benchmarks.checks.precision"],
    "evaluator": [
        "benchmarks.evaluator", "--num_models=64", "--num_records=20000", "--loop_records=100",
        "--num_targets=2",
    ],
}  # fmt: skip


def main(_: list[str]) -> int:
    names = [n for n in _ONLY.value if n != "page"] if _ONLY.value else list(RUNS)
    if unknown := [name for name in names if name not in RUNS]:
        raise InputError(f"unknown benchmarks {unknown}; allowed: {', '.join(RUNS)}")
    failed = []
    for name in names:
        module, *sizes = RUNS[name]
        began = time.monotonic()
        out = Path(_RESULTS.value) / f"{name}.jsonl"
        print(f"{name}: python -m {module} {' '.join(sizes)}", flush=True)
        done = subprocess.run([sys.executable, "-m", module, *sizes, f"--out={out}"], check=False)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        if done.returncode:
            failed.append(name)
    speed_page.write(Path(_RESULTS.value), Path(_PAGE.value))
    if failed:
        print(f"error: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    run(main, "python -m benchmarks.speed", __doc__ or "")
