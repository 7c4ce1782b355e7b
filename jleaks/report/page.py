"""The page of all experiments: what the paper says and what was found, from committed rows."""

import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from jleaks.errors import InputError
from jleaks.experiments.claims import EXPERIMENTS
from jleaks.experiments.designs import design_of
from jleaks.report.findings import finding
from jleaks.report.groups import Results, collect
from jleaks.report.numbers import FEW_NOTE
from jleaks.report.table import Table
from jleaks.report.tables import range_text, tables
from jleaks.rows import OF_EXPERIMENT, read_rows

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


def collect_all(folder: Path, names: Iterable[str] = EXPERIMENTS) -> list[Results]:
    """Returns the results of every experiment that has a directory.

    Args:
      folder: Of the experiments' folders.
      names: Of the experiments to look for; all that are registered by default.

    Raises:
      InputError: there are no results, or rows are missing or not as they must be.
    """
    found = []
    for name in names:
        directory = folder / name
        if not directory.is_dir():
            continue
        paths = (directory / file for file in ("rows.jsonl", "rows.jsonl.gz"))
        path = next(filter(Path.exists, paths), None)
        if path is None and (design_of(name).rows_expected or not any(directory.glob("*.npz"))):
            raise InputError(f"{directory} has no rows.jsonl and no rows.jsonl.gz")
        found.append(
            collect(name, [] if path is None else read_rows(path, OF_EXPERIMENT), directory)
        )
    if not found:
        raise InputError(
            f"{folder} has no results; expected E1/rows.jsonl or another experiment's, the rows.jsonl or "
            "summary.jsonl of a run, or the audit.json of an audit"
        )
    return found


def _distinct(values: pd.Series) -> str:
    return ", ".join(dict.fromkeys(values.astype(str))) or "-"


def _how_it_was_run(found: list[Results]) -> list[str]:
    heads = ["Experiment", "Scale", "Tasks", "Records", "Seeds", "Rows", "Device", "Plan", "Format"]
    table: list[list[str]] = []
    named = [results for results in found if len(results.rows)]
    for results in found:
        title = f"{results.name}. {EXPERIMENTS[results.name].title}"
        if results not in named:
            table.append([title, "-", "0", "-", "-", "0", "-", "-", "-"])
            continue
        rows = results.rows
        counts = rows.groupby("task")["seed"].nunique()
        # Rows of format 1 did not say so.
        formats = rows["format"].fillna(1) if "format" in rows else pd.Series([1])
        cells = [
            title,
            _distinct(rows["scale"]),
            str(len(counts)),
            _distinct(rows["source"]),
            range_text(counts, "d"),
            f"{len(rows):,}",
            _distinct(rows["device"]),
            _distinct("`" + rows["fingerprint"] + "`"),
            _distinct(formats),
        ]
        table.append(cells)
    runs = Table.of("", "", heads, len(heads), table)
    lines = ["## How it was run", "", *runs.markdown_lines()]
    if not named:
        return [*lines, ""]
    every = pd.concat([results.rows[["command", "versions"]] for results in named])
    commands = dict.fromkeys(filter(None, every["command"]))
    versions = dict.fromkeys(
        ", ".join(f"{name} {version}" for name, version in found.items())
        for found in every["versions"]
    )
    lines.append("")
    if commands:
        lines += ["<!-- not run: what made the rows -->", "```", *commands, "```", ""]
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
    found = collect_all(folder)
    lines = [_HEAD, *_how_it_was_run(found)]
    link = Path(os.path.relpath(folder, beside)).as_posix()
    for results in found:
        lines += _section(results, link)
    return "\n".join(lines).rstrip() + "\n"
