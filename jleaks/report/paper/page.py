"""The page of all experiments: what the paper says and what was found, from committed rows."""

import os
from pathlib import Path

from jleaks.errors import InputError
from jleaks.experiments.claims import EXPERIMENTS
from jleaks.report.numbers import FEW_NOTE
from jleaks.report.paper.findings import finding
from jleaks.report.paper.results import Results, collect
from jleaks.report.paper.rows import read_rows, rows_file
from jleaks.report.paper.tables import tables

_HEAD = f"""# ML-Leaks, experiment by experiment

Salem et al., *ML-Leaks: Model and Data Independent Membership Inference Attacks and Defenses on Machine
Learning Models*, NDSS 2019 ([arXiv 1806.01246](https://arxiv.org/abs/1806.01246)). This page is generated
from the committed rows in `results/paper/` by `python -m benchmarks.pages.paper`; every number under "Here"
and in the tables is computed from them.

## How to read the numbers

- **The paper.** [S]: a figure read in a source (the abstract, published notes, released code). [m]: a
  figure recalled and not read again, hence "about".
- ± is the half-width of a 95% t interval over seeds; a seed draws the split, the initial weights and the
  order of batches anew. [low, high]: one that is cut where the value must end. No ±: a single seed.
  Differences are taken on the same seeds and their intervals are paired. One interval in twenty leaves
  out zero by chance. (4 of 5): the mean over the 4 of 5 seeds in which the value is defined; the precision
  of an attack that calls nobody a member is not.
- Precision and recall are of "member", at the attack model's 0.5 cut, for adversary 3 at its threshold
  from random points. Members and non-members are equally many: a coin has precision 0.5. The shadow's
  cut is the threshold that is best on the shadow's own records. In rows of format 1 attack models are
  those of `--attack_recipe=ml_leaks`, whose 0.5 cut depends on where the last step lies (recalls of
  0.6±0.7 are that); from format 2 on they are `stable` (`docs/attack_recipes.md`).
- TPR at FPR 1% and 0.1% say whether an attack can be sure of anybody; the FPR realised stands below each
  table. {FEW_NOTE}
"""


def _collect(folder: Path) -> list[Results]:
    """Returns the results of every experiment that has a directory."""
    found = []
    for name in EXPERIMENTS:
        directory = folder / name
        if not directory.is_dir():
            continue
        path = rows_file(directory)
        if path is None and not (name == "E11" and (directory / "points.npz").exists()):
            raise InputError(f"{directory} has no rows.jsonl and no rows.jsonl.gz")
        found.append(collect(name, [] if path is None else read_rows(name, path), directory))
    if not found:
        raise InputError(f"{folder} has no results; expected E1/rows.jsonl or another experiment's")
    return found


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _distinct(values: list[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _how_it_was_run(found: list[Results]) -> list[str]:
    heads = ["Experiment", "Scale", "Tasks", "Records", "Seeds", "Rows", "Device", "Plan", "Format"]
    lines = ["## How it was run", "", _line(heads), _line(["---"] * len(heads))]
    for results in found:
        rows = results.rows
        counts = [
            len({row["seed"] for row in rows if row["task"] == task})
            for task in dict.fromkeys(row["task"] for row in rows)
        ]
        seeds = "-" if not counts else str(min(counts))
        if counts and max(counts) > min(counts):
            seeds += f" to {max(counts)}"
        title = EXPERIMENTS[results.name].title
        lines.append(
            _line(
                [
                    f"{results.name}. {title}",
                    _distinct([row["scale"] for row in rows]) or "-",
                    str(len(counts)),
                    _distinct([row["source"] for row in rows]) or "-",
                    seeds,
                    f"{len(rows):,}",
                    _distinct([row["device"] for row in rows]) or "-",
                    _distinct([f"`{row['fingerprint']}`" for row in rows]) or "-",
                    _distinct([str(row.get("format", 1)) for row in rows]) or "-",
                ]
            )
        )
    every = [row for results in found for row in results.rows]
    commands = dict.fromkeys(row["command"] for row in every if row["command"])
    versions = dict.fromkeys(
        ", ".join(f"{name} {version}" for name, version in row["versions"].items()) for row in every
    )
    lines.append("")
    if commands:
        lines += ["```", *commands, "```", ""]
    return lines + [f"Versions: {text}.\n" for text in versions]


def _section(results: Results, link: str) -> list[str]:
    experiment = EXPERIMENTS[results.name]
    lines = [f"## {results.name}. {experiment.title}", "", experiment.question, ""]
    # "figure.png" sorts before "figure_cost.png".
    for figure in sorted(results.folder.glob("figure*.png")):
        lines += [f"![{experiment.title}]({link}/{results.name}/{figure.name})", ""]
    lines += [f"**Here.** {finding(results)}", "", f"**The paper.** {experiment.claim}", ""]
    notes = results.folder / "notes.md"
    if notes.exists():
        lines += [notes.read_text().strip(), ""]
    return lines + [table.to_markdown() for table in tables(results)]


def page(folder: Path, beside: Path) -> str:
    """Returns the page.

    Args:
      folder: The committed results.
      beside: Directory that the page will lie in; figures are linked relative to it.

    Raises:
      InputError: there are no results, or rows are missing or not as they must be.
    """
    found = _collect(folder)
    lines = [_HEAD, *_how_it_was_run(found)]
    link = Path(os.path.relpath(folder, beside)).as_posix()
    for results in found:
        lines += _section(results, link)
    return "\n".join(lines).rstrip() + "\n"
