"""All benchmarks of speed, one after another, and the page about them: under 20 minutes on two cores.

python -m benchmarks.speed --results=results/speed --page=benchmarks/README.md
python -m benchmarks.speed --only=page

The machine should do nothing else meanwhile.  A benchmark that fails is named at the end; the others run.
"""

import subprocess
import sys
import time
from pathlib import Path

from benchmarks import harness
from benchmarks.harness import Command, Flag, where
from benchmarks.pages import speed as page

COMMAND = Command(
    "benchmarks.speed",
    __doc__,
    results=where("Where rows are appended.", "results/speed"),
    page=where("The page to write.", "benchmarks/README.md"),
    only=Flag("Run only these; page for none.", kind=list),
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
    "own_networks": ["benchmarks.scaling.own_networks"],
    "precision": ["benchmarks.checks.precision"],
    "evaluator": [
        "benchmarks.evaluator", "--num_models=64", "--num_records=20000", "--loop_records=100",
        "--num_targets=2",
    ],
}  # fmt: skip


def main() -> int:
    asked = harness.check_names("only", COMMAND.only or list(RUNS), [*RUNS, "page"])
    names = [name for name in asked if name != "page"]
    failed = []
    for name in names:
        module, *sizes = RUNS[name]
        began = time.monotonic()
        out = Path(COMMAND.results) / f"{name}.jsonl"
        print(f"{name}: python -m {module} {' '.join(sizes)}", flush=True)
        done = subprocess.run([sys.executable, "-m", module, *sizes, f"--out={out}"], check=False)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        if done.returncode:
            failed.append(name)
    page.write(Path(COMMAND.results), Path(COMMAND.page))
    if failed:
        print(f"error: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    COMMAND.run(main)
