"""The HTML page of any run, made from the rows in its folder: main job, bank, experiments."""

import logging
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from jleaks import heartbeat, json_lines
from jleaks.activity import doing
from jleaks.errors import InputError
from jleaks.experiments import designs
from jleaks.experiments.claims import EXPERIMENTS
from jleaks.files import replace_file
from jleaks.report import audit_files, statements
from jleaks.report.answers_page import answers_page
from jleaks.report.bank_page import bank_page
from jleaks.report.contrasts import listed
from jleaks.report.drawings import draw_experiment, draw_run
from jleaks.report.findings import finding
from jleaks.report.groups import Group, Results, average_over_shadow_tasks, collect, collect_run
from jleaks.report.html import Picture, RunPage, Section
from jleaks.report.page import collect_all
from jleaks.report.statements import counted
from jleaks.report.table import Table
from jleaks.report.tables import number, run_tables, tables
from jleaks.report.titles import ADVERSARIES, flagged_title
from jleaks.rows import OF_EXPERIMENT, read_rows

_log = logging.getLogger(__name__)


@doing("writing the page")
def write_page(
    folder: str | os.PathLike[str], command: str = "", remarks: Sequence[str] = ()
) -> Path:
    """Writes `report.html` into the folder of a run, from the rows there, or of an audit, from its files.

    Args:
      folder: Of a run of launch.sweep, launch.attack, launch.paper (or of one experiment), or of
        launch.audit.
      command: What made the rows, where they do not say so; "" for what the run's heartbeat says.
      remarks: Of launch.audit on answers: sentences that its rows do not hold.

    Raises:
      InputError: there are no such rows, they are not as they must be, or the file cannot be written.
    """
    folder = Path(folder)
    # Remarks are of answers that were attacked just now, also where an audit was saved before.
    if not remarks and (folder / audit_files.FILE).exists():
        return audit_files.write_page(folder)
    command = command or str((heartbeat.read(folder) or {}).get("public", ""))
    return replace_file(folder / "report.html", _page(folder, command, remarks).to_html().encode())


def _page(folder: Path, command: str, remarks: Sequence[str]) -> RunPage:
    """Looks at what lies in a folder, and returns its page."""
    if (folder / "summary.jsonl").exists():
        return bank_page(folder, command)
    path = next((p for p in (folder / "rows.jsonl", folder / "rows.jsonl.gz") if p.exists()), None)
    if path is None:
        if not folder.is_dir():
            raise InputError(f"{folder} is no directory")
        found = collect_all(folder, [name for name in EXPERIMENTS if _has_finished(folder / name)])
    else:
        first = next(iter(json_lines.read(path)), {})
        if "constant" in first:
            return answers_page(folder, command, remarks)
        if "experiment" not in first:
            return _sweep_page(folder, command)
        found = [collect(str(first["experiment"]), read_rows(path, OF_EXPERIMENT), folder)]
    return _paper_page(found, folder, command)


def _has_finished(folder: Path) -> bool:
    """Whether an experiment has left its results: others of the run may be under way."""
    rows = any((folder / name).exists() for name in ("rows.jsonl", "rows.jsonl.gz"))
    return rows or (not designs.design_of(folder.name).rows_expected and any(folder.glob("*.npz")))


def _pictures(
    folder: Path, names: Iterable[str], title: str, draw_fn: Callable[[], dict[str, bytes]]
) -> list[Picture]:
    """Returns those of a design's figures that lie in a folder; where none does, they are drawn now."""
    paths = [folder / name for name in names]
    files = {path.name: path.read_bytes() for path in paths if path.exists()}
    return [
        Picture(f"{title}: {name.removesuffix('.png').replace('_', ' ')}", content)
        for name, content in (files or draw_fn()).items()
    ]


def _sweep_page(folder: Path, command: str) -> RunPage:
    """Returns the page of the main job."""
    rows = read_rows(folder / "rows.jsonl")
    results = collect_run(rows)
    by_task = _strongest_by_task(results)
    best = statements.strongest(by_task)
    num_targets = len({(row["task"], row["seed"]) for row in rows})
    num_tasks = len({row["task"] for row in rows})
    adversaries = sorted({int(row["adversary"] or 0) for row in rows})
    told = [f"adversary {a}" for a in adversaries]
    guessing = [
        flagged_title(group.task, results.sources)
        for group in by_task
        if group.interval("auc").is_bounded and group.interval("auc").low <= 0.5
    ]
    first = [statements.CHOSEN]
    if guessing:
        first.insert(
            0,
            f"On {listed(guessing)} no attack can be told from guessing: the interval of the "
            "largest AUC holds 0.5.",
        )
    lead = (
        f"{counted(num_targets, 'target model')} of {counted(num_tasks, 'task')} attacked by "
        f"{listed(told)} of ML-Leaks. "
    )
    lead += (
        f"Strongest: {statements.strongest_sentence(best, results)}"
        if best
        else "No row defines an AUC."
    )
    missing = [title for name, title in ADVERSARIES.items() if name not in told]
    figures = _pictures(
        folder / "figures", designs.MAIN_JOB, "Figure", lambda: draw_run(results, _log.warning)
    )
    return RunPage(
        heading="Membership inference: the three adversaries of ML-Leaks",
        lead=lead,
        first=first,
        cards=[
            *(statements.strongest_cards(best, results) if best else ()),
            (
                "Attacked",
                counted(num_targets, "target"),
                f"{counted(num_tasks, 'task')}, {len(rows):,} attacks",
            ),
        ],
        sections=[
            Section("The strongest attack on each task", tables=[_by_task_table(by_task, results)]),
            Section("Figures", pictures=figures),
            Section("Every attack", tables=run_tables(results)),
        ],
        untested=[
            *statements.limits(results),
            *(f"Not run: {title}." for title in missing),
            "Attacks that compare a record with many reference models (LiRA, RMIA), which are sure of more "
            "members: jleaks bank and jleaks attack run them.",
            "Networks, recipes and defences other than those named below.",
        ],
        method=[
            "Every seed splits a task's records anew into four quarters: members and non-members of the "
            "target, members and non-members of the shadow, which share no record (Salem et al., "
            "ML-Leaks, NDSS 2019).",
            *(f"{title}." for name, title in ADVERSARIES.items() if name in told),
            "Precision and recall are those of “member” at the attack model's 0.5 cut, for adversary 3 at "
            "the threshold that random points gave; “shadow's cut” is the threshold that is best on the "
            "shadow's own records.",
            "Intervals are 95% t intervals over seeds; a TPR at a named FPR is read off the ROC curve of "
            "the target's own records, and the FPR realised stands below each table.",
        ],
        provenance=statements.provenance(rows, folder, command),
        where=statements.WHERE,
    )


def _strongest_by_task(results: Results) -> list[Group]:
    """Returns, of every target task, the attack with the largest mean AUC.

    Adversary 2 counts by its mean over shadow tasks: an attacker cannot know which transfers best.
    """
    groups = average_over_shadow_tasks(results.groups)
    tasks = dict.fromkeys(group.task for group in groups)
    found = (statements.strongest(g for g in groups if g.task == task) for task in tasks)
    return [group for group in found if group is not None]


_OF_STRONGEST = (
    *("auc", "tpr_at_fpr_0.01", "precision", "recall", "train_accuracy", "test_accuracy"),
)


def _by_task_table(groups: Sequence[Group], results: Results) -> Table:
    heads = ["Task", "Attack", "Seeds", "AUC", "TPR at 1% FPR", "Precision", "Recall"]
    return Table.of(
        "",
        "By mean AUC; adversary 2 as its mean over shadow tasks.  ± and [low, high]: 95% t interval over "
        "seeds.",
        [*heads, "Target train acc.", "Target test acc."],
        2,
        (
            (
                flagged_title(group.task, results.sources),
                statements.attack_title(group),
                str(len(group.seeds)),
                *(number(group, name) for name in _OF_STRONGEST),
            )
            for group in groups
        ),
    )


def _paper_page(found: Sequence[Results], folder: Path, command: str) -> RunPage:
    """Returns the page of the paper's experiments, one or several."""
    rows = [row for results in found for row in results.rows.to_dict("records")]
    tops = [
        (group, results)
        for results in found
        if (group := statements.strongest(results.groups)) is not None
    ]
    tasks = dict.fromkeys(task for results in found for task in results.tasks)
    lead, cards = (
        f"{counted(len(found), 'experiment')} on {counted(len(tasks), 'task')}, {len(rows):,} attacks.",
        [],
    )
    if tops:
        best, where = max(tops, key=lambda top: top[0].interval("auc").mean)
        told = statements.strongest_sentence(best, where)
        lead += f" Strongest, in {where.name}: {told}"
        cards = statements.strongest_cards(best, where)
    cards.append(("Attacked", counted(len(tasks), "task"), f"{len(rows):,} attacks"))
    open_questions = dict.fromkeys(line for results in found for line in statements.limits(results))
    named = "experiments" if len(found) > 1 else f"experiment {found[0].name}"
    return RunPage(
        heading=f"Membership inference: {named} of ML-Leaks",
        lead=lead,
        first=[statements.CHOSEN],
        cards=cards,
        sections=[_experiment(results) for results in found],
        untested=[
            *open_questions,
            "Sizes, seeds and tasks other than those of the tables.",
        ],
        method=[
            "Every seed splits a task's records anew; target and shadow share no record (Salem et al., "
            "ML-Leaks, NDSS 2019).  “The paper”: [S] is a figure read in a source, [m] one recalled.",
            "Intervals are 95% t intervals over seeds, of differences paired by seed; one in twenty leaves "
            "out zero by chance.",
        ],
        provenance=statements.provenance(
            [{k: v for k, v in row.items() if not _is_missing(v)} for row in rows], folder, command
        ),
        where=statements.WHERE,
    )


def _is_missing(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _experiment(results: Results) -> Section:
    experiment = EXPERIMENTS[results.name]
    title = f"{results.name}. {experiment.title}"
    noted, more = _notes(results.folder / "notes.md")
    files = [figure.file for figure in results.design.figures]
    return Section(
        title,
        [
            ("", experiment.question),
            ("Here", finding(results)),
            ("The paper", experiment.claim),
            *(("", text) for text in noted),
        ],
        _pictures(results.folder, files, title, lambda: draw_experiment(results, _log.warning)),
        [*more, *tables(results)],
        anchor=results.name,
    )


def _notes(path: Path) -> tuple[list[str], list[Table]]:
    """Returns the paragraphs and the tables of a note in Markdown beside an experiment's rows, if any."""
    texts: list[str] = []
    found: list[Table] = []
    try:
        blocks = path.read_text("utf-8").replace("**", "").replace("`", "").split("\n\n")
    except FileNotFoundError:
        return texts, found
    for block in filter(None, map(str.strip, blocks)):
        if block.startswith("|"):
            lines = [
                [cell.strip() for cell in line.strip("| ").split("|")]
                for line in block.splitlines()
            ]
            found.append(Table.of("", "", lines[0], 1, lines[2:]))
        else:
            texts.append(" ".join(block.split()))
    return texts, found
