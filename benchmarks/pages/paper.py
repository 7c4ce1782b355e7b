"""docs/paper.md from committed rows: the paper's experiments, what it says and what is found here.

python -m benchmarks.pages.paper --results=results/paper --page=docs/paper.md
python -m benchmarks.pages.paper --rows=results/main/rows.jsonl

--results holds one directory per experiment, E1 to E18, with rows.jsonl or rows.jsonl.gz and the figures
of launch.paper, E11 its points.npz.  notes.md in such a directory, written by hand, goes into the page.

With --rows, of launch.sweep, no page is written: adversaries 1 and 3 are printed beside what the paper and
its re-implementations report.  These carry how sure we are of them: S, read in a source; m, recalled
("about").
"""

from pathlib import Path

from benchmarks.checks.stand_ins import mean_text
from benchmarks.harness import Command, where
from jleaks.data.tasks import TASKS
from jleaks.files import replace_file
from jleaks.report.page import page
from jleaks.rows import read_rows

COMMAND = Command(
    "benchmarks.pages.paper",
    __doc__,
    results=where("Committed results.", "results/paper"),
    page=where("The page to write.", "docs/paper.md"),
    rows=where("Rows of launch.sweep, to print the table of adversaries 1 and 3 instead."),
)

# Adversary 1, precision/recall; Salem et al. 2019, figures 2 and 10, and the authors' README.
PAPER = {
    "adult": "about 0.5 [m]",
    "cifar100": "0.95/0.95 [S]",
    "mnist": "precision about 0.6 [S]",
    "purchase100": "about 0.86/0.86 [m], real Purchase",
    "location": "about 0.89/0.86 behind an API [m]",
}
# Adversary 1 in public re-implementations.
REIMPLEMENTATIONS = {
    "cifar10": "precision .56-.64, recall .82-.92, AUC about .68 [S]",
    "cifar100": "precision .64, recall .85, AUC .77 at accuracy .94/.21 [S]",
    "face": "AUC .80 at accuracy 1.00/.34 (all of LFW's people) [S]",
    "mnist": "accuracy of the attack .50-.51 [S]",
}


_HEADS = (
    *("task", "seeds", "train / test accuracy", "1: precision", "1: recall", "1: AUC"),
    *("3: AUC (maximum)", "paper, adversary 1", "re-implementations"),
)


def table(path: str) -> list[str]:
    """Returns the lines of a Markdown table of adversaries 1 and 3 on every task that has rows."""
    rows = read_rows(path)
    lines = [list(_HEADS)]
    for name, task in TASKS.items():
        first = [r for r in rows if r["task"] == name and r["adversary"] == 1]
        third = [r for r in rows if r["task"] == name and r["attack"] == "maximum"]
        if not first:
            continue
        title = task.title + (" (stand-in)" if first[0]["source"] == "stand-in" else "")
        accuracy = " / ".join(mean_text(first, f"{part}_accuracy") for part in ("train", "test"))
        cells = [title, str(len(first)), accuracy]
        cells += [mean_text(first, field) for field in ("precision", "recall", "auc")]
        cells += [mean_text(third, "auc"), PAPER.get(name, "-"), REIMPLEMENTATIONS.get(name, "-")]
        lines.append(cells)
    head, *body = (f"| {' | '.join(cells)} |" for cells in lines)
    return [head, "|---" * len(_HEADS) + "|", *body]


def main() -> int:
    if COMMAND.rows:
        print("\n".join(table(COMMAND.rows)))
        return 0
    target = Path(COMMAND.page)
    replace_file(target, page(Path(COMMAND.results), target.parent).encode())
    print(f"wrote {target}")
    return 0


if __name__ == "__main__":
    COMMAND.run(main)
