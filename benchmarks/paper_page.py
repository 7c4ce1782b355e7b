"""docs/paper.md from committed rows: the paper's experiments, what it says and what is found here.

python -m benchmarks.paper_page --results=results/paper --page=docs/paper.md

--results holds one directory per experiment, E1 to E18, with rows.jsonl or rows.jsonl.gz and the figures
of launch.paper, E11 its points.npz.  notes.md in such a directory, written by hand, goes into the page.
"""

from pathlib import Path

from absl import flags

from jleaks.files import replace_file
from jleaks.report.page import page
from launch.flags import run

_RESULTS = flags.DEFINE_string(
    "results", "results/paper", "Committed results.", module_name="Where"
)
_PAGE = flags.DEFINE_string("page", "docs/paper.md", "The page to write.", module_name="Where")


def main(_: list[str]) -> int:
    """Writes the page."""
    target = Path(_PAGE.value)
    replace_file(target, page(Path(_RESULTS.value), target.parent).encode())
    print(f"wrote {target}")
    return 0


if __name__ == "__main__":
    run(main, "python -m benchmarks.paper_page", __doc__ or "")
