"""docs/attacks.md from committed results: every attack on every bank, and what the references cost.

python -m benchmarks.attack_page --results=results/bank --page=docs/attacks.md --readme=README.md

--results holds one directory per bank with summary.jsonl and roc.png (of launch.attack), and, where it was
measured, cost.jsonl and cost.png (of benchmarks.attack_cost); beside them null.jsonl (of
benchmarks.null_banks) and evaluator.jsonl (of benchmarks.evaluator).
"""

import dataclasses
import os
from pathlib import Path

from absl import flags

from benchmarks.evaluator_table import evaluator_table, latest
from jleaks.attacks.registry import ATTACKS
from jleaks.bank.results import Record, read_records
from jleaks.datasets.registry import TASKS
from jleaks.errors import InputError
from jleaks.recipes import RECIPES
from jleaks.report.bank_tables import (
    audit_table,
    bank_table,
    comparison_table,
    interval_note,
    number,
    records_table,
)
from jleaks.report.cost import cost_table, curve, knee
from jleaks.report.files import replace_file
from jleaks.report.numbers import FEW_NOTE, UNDEFINED, few_mark, notes
from launch.flags import run

_RESULTS = flags.DEFINE_string("results", "results/bank", "Committed results.", module_name="Where")
_PAGE = flags.DEFINE_string("page", "docs/attacks.md", "The page to write.", module_name="Where")
_README = flags.DEFINE_string(
    "readme",
    None,
    "A page whose table of TPRs, between the lines <!-- attacks table --> and <!-- /attacks table -->, is "
    "written, too.",
    module_name="Where",
)

# In between stands the table of TPRs.
MARKERS = ("<!-- attacks table -->", "<!-- /attacks table -->")
_TPR = "tpr_at_fpr_0.001"

# Shown side by side for all tasks; the best known of each family and need.
_MAIN = (
    *("loss", "class_thresholds", "quantile", "label_only"),
    *("calibrated", "attack_r", "lira_offline", "rmia_offline", "bavaria_offline"),
    *("lira_online", "rmia_online", "base_online", "bavaria"),
)

_HEAD = """# Attacks on banks of models

A *bank* is many models of one task, each trained on a random half of the same records. Every model is
the target of every attack in turn, the others are its references: one training, as many evaluations as
there are models. This page is generated from the committed rows in `results/bank/` by `python -m
benchmarks.attack_page`.

```
python -m launch.bank --tasks=location --data_dir=data --workdir=checkpoints/bank
python -m launch.attack --signals=checkpoints/bank/location/bank.npz
python -m benchmarks.attack_cost --banks=checkpoints/bank/location/bank.npz --out_dir=results/cost
```

## How to read the numbers

- Models come in *twins*: the second trains on the records that the first does not. A target's twin is
  never its reference, so that exactly half of the references hold any record, whether or not the target
  does. With the twin among them the count alone would tell.
- Thresholds (for precision, recall, balanced accuracy) come from a shadow model, attacked in the same
  way with references of its own; never from the target's membership. TPR at a stated FPR takes the
  operating point from the target's own ROC curve, as the literature does.
- ± is the half-width of a 95% interval over records; [low, high] is one that is not symmetrical. All
  targets of a bank are judged by the same records, and one that is easy to tell is easy under many of them:
  so the record is the unit, its influence is summed over all targets, and the sum of squares is the
  variance (DeLong's placements for the AUC, the linearised ratio or rate for the rest). It says how far
  another draw of records would move the mean, given these models: targets and the references that they
  share are taken as they are, and banks of other seeds vary beyond it. Records count as independent given
  the models, which is a model of the data. Differences of attacks are taken record by record in the same
  way, and a star or bold type says that the interval leaves out zero. (4 of 5): the mean over the 4 of 5
  targets in which the value is defined; the precision of an attack that calls nobody a member is not.
- TPR at FPR f is the largest TPR among thresholds whose realised FPR is at most f; ties move together.
  Where f allows less than one non-member, it is the TPR above the highest non-member. Such a threshold
  stands at the non-member after the last one allowed, so that its true FPR is larger than f on average.
  {few} The interval of a marked mean reaches from below an estimate without that bias, interpolated to the
  thresholds whose expected FPR is f, to above the one that is shown.
- A single target's `tpr_low` and `tpr_high` in `rows.jsonl` cover its TPR at the named FPR with at least
  95% in samples of any size, although the threshold is chosen on the same records: they are
  Clopper-Pearson bounds at two other thresholds, one that lets in so few non-members that its true FPR is
  at most f, one that lets in so many that it is at least f (a threshold at the (j + 1)-th highest of n
  non-members has a true FPR that follows Beta(j + 1, n - j)). Where f allows too few non-members to tell,
  the lower bound is 0.
- Attack-R, label only and correctness take few values. So many non-members share the largest with the
  members that no threshold has an FPR of 0.1%, and the TPR there is 0; their AUC is not touched by it.
- RMIA is at temperature 2, BASE at temperature 1, as published; at one temperature their online forms
  rank records alike. RMIA's z are all records of the bank. BaVarIA's prior is ours
  (`jleaks/attacks/bavaria.py`), since only the family is taken from the paper. LiRA uses each record's
  own variance from 64 references on. "All queries" averages over the record and perturbed copies:
  shifts and mirror images, or noise up to twice the record's own length, most of which says little on
  these data.
""".replace("{few}", FEW_NOTE)


@dataclasses.dataclass(frozen=True)
class PageBank:
    """One bank of the page.

    Attributes:
      name: Of its directory.
      title: The task's, and what its recipe differs in from the main job's.
      records: Its summary.
    """

    name: str
    title: str
    records: list[Record]


def _differences(task: str, recipe: Record) -> list[str]:
    """Returns what a recipe differs in from that of the main job."""
    usual = RECIPES["ml_leaks"].recipe
    found = []
    if recipe["model"] != TASKS[task].model:
        found.append(recipe["model"])
    if recipe["model"] == "mlp" and tuple(recipe["hidden"]) != usual.hidden:
        found.append(f"hidden {'-'.join(map(str, recipe['hidden']))}")
    if recipe["model"] in ("mlp", "cnn"):
        activation = recipe.get("activation", usual.activation)
        found += [activation] if activation != usual.activation else []
    if recipe["epochs"] != usual.epochs:
        found.append(f"{recipe['epochs']} epochs")
    if recipe.get("optimizer", usual.optimizer) != usual.optimizer:
        found.append(recipe["optimizer"].upper())
    if recipe.get("augmentation", "none") != "none":
        found.append(recipe["augmentation"])
    return found


def _title(name: str, first: Record) -> str:
    task, recipe = first["task"], first.get("recipe")
    if task not in TASKS:
        return name
    if recipe:
        return ", ".join([TASKS[task].title, *_differences(task, recipe)])
    return TASKS[task].title + ("" if name == task else f" ({name})")


def _banks(folder: Path) -> list[PageBank]:
    """Reads every directory with a summary, in the registry's order of tasks, then by name."""
    order = list(TASKS)

    def rank(bank: PageBank) -> tuple[int, str]:
        task = bank.records[0]["task"]
        return order.index(task) if task in order else len(order), bank.name

    found = []
    for path in folder.glob("*/summary.jsonl"):
        name, records = path.parent.name, read_records(path)
        found.append(PageBank(name, _title(name, records[0]), records))
    if not found:
        raise InputError(f"{folder} has no NAME/summary.jsonl")
    titles = [bank.title for bank in found]
    told_apart = [
        bank
        if titles.count(bank.title) == 1
        else dataclasses.replace(bank, title=f"{bank.title} ({bank.name})")
        for bank in found
    ]
    return sorted(told_apart, key=rank)


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _what_was_run(banks: list[PageBank]) -> list[str]:
    heads = [
        *("Bank", "Records", "Models", "Members of each", "Accuracy, members / non-members"),
        *("Training", "Device", "Evaluation of all attacks"),
    ]
    lines = ["## The banks", "", _line(heads), _line(["---"] * len(heads))]
    for bank in banks:
        first = bank.records[0]
        count = len(bank.records) * first["num_targets"]
        lines.append(
            _line(
                [
                    bank.title,
                    first["source"],
                    str(first["num_models"]),
                    f"{first['num_members']:,.0f}",
                    f"{first['train_accuracy']:.3f} / {first['test_accuracy']:.3f}",
                    f"{first['training_seconds']:.0f} s",
                    first["device"],
                    f"{count:,} in {first['evaluation_seconds']:.0f} s, compilation included",
                ]
            )
        )
    versions = ", ".join(f"{k} {v}" for k, v in banks[0].records[0]["versions"].items())
    return [*lines, "", f"Versions: {versions}.", ""]


def _side_by_side(banks: list[PageBank], metric: str) -> list[str]:
    """Returns a table of the main attacks on all banks, and below it what its signs mean."""
    lines = [_line(["Attack", "Needs", *(bank.title for bank in banks)])]
    lines.append(_line(["---", "---", *["---:"] * len(banks)]))
    needs = {"none": "-", "out": "OUT", "in and out": "IN, OUT"}
    by = [{r["attack"]: r for r in bank.records} for bank in banks]
    texts: list[str] = []
    for attack in _MAIN:
        cells = [number(found[attack], metric) if attack in found else UNDEFINED for found in by]
        if any(cell != UNDEFINED for cell in cells):
            entry = ATTACKS[attack]
            lines.append(_line([entry.title, needs[entry.references], *cells]))
            texts += cells
    records = [record for bank in banks for record in bank.records]
    return [*lines, "", f"{interval_note(records)} {notes(texts)}".rstrip()]


def _ordering(banks: list[PageBank], folder: Path) -> list[str]:
    """What the literature reports, beside what was found."""
    lines = ["## What the literature reports, and what is found here", ""]
    for bank in banks:
        by = {r["attack"]: r for r in bank.records}
        tpr = {a: r[_TPR]["mean"] for a, r in by.items()}
        plain = max(v for a, v in tpr.items() if by[a]["needs"] == "none")
        best = max((a for a in tpr if by[a]["needs"] != "none"), key=lambda a: tpr[a])
        mark = few_mark(_TPR, by[best]["num_nonmembers"])
        times = f"{tpr[best] / plain:.0f} times" if plain > 0 else "against none of"
        text = (
            f"- **{bank.title}.** TPR at 0.1% FPR: {tpr[best]:.4f}{mark} with references "
            f"({ATTACKS[best].title}), {times} the best without ({plain:.4f}{mark})."
        )
        cost = folder / bank.name / "cost.jsonl"
        if cost.exists():
            text += " " + _few_and_many(read_records(cost))
        lines.append(text)
    return [*lines, ""]


def _few_and_many(records: list[Record]) -> str:
    counts = sorted({r["num_references"] for r in records})
    by = {(r["attack"], r["num_references"]): r[_TPR]["mean"] for r in records}
    names = list(dict.fromkeys(r["attack"] for r in records))

    mark = few_mark(_TPR, records[0]["num_nonmembers"])

    def ahead(count: int) -> str:
        best = max(names, key=lambda name: by[name, count])
        return f"{ATTACKS[best].title} ({by[best, count]:.4f}{mark}) with {count}"

    few = 2 if 2 in counts else counts[0]
    knees = ", ".join(
        f"{ATTACKS[name].title} {knee(curve(records, name, 'auc'))}"
        for name in ("lira_online", "rmia_online", "bavaria")
        if name in names
    )
    return (
        f"Ahead by that measure: {ahead(few)} references, {ahead(counts[-1])}. Knee of the AUC "
        f"(references): {knees}."
    )


_NULL_HEADS = (
    *("Bank", "Null", "Attack", "Draws", "Mean AUC", "Its standard error"),
    *("Interval over records covers 0.5", "t interval over targets covers 0.5"),
    "Bootstrap over one target's records covers 0.5",
    *("Epsilon bound over thresholds above 0", "of one run"),
)

_NULL_TEXT = """Membership drawn afresh for trained models ("redrawn": it has nothing to do with who was
trained on), and models that were never trained: every attack must fail. No epsilon bound of 95% confidence
may be above zero in more than 5% of draws, up to the noise of so many draws. The intervals are
nominally 95%: those over records, of the mean over targets and of one target, cover as they say; the t
interval over the targets of one bank, which earlier versions showed, is too narrow for attacks that compare
with references, because all targets share records and references. Each draw uses 16 models (`python -m
benchmarks.null_banks`); -: measured before that interval existed."""


def _null(folder: Path) -> list[str]:
    path = folder / "null.jsonl"
    if not path.exists():
        return []
    lines = ["## Null checks", "", _NULL_TEXT, "", _line(list(_NULL_HEADS))]
    lines.append(_line(["---", "---", "---", *["---:"] * 8]))
    for r in read_records(path):
        cells = [r["task"], r["null"], ATTACKS[r["attack"]].title, str(r["draws"])]
        cells += [f"{r['mean_auc']:.5f}", f"{r['standard_error']:.5f}"]
        shares = (
            "coverage_of_mean",
            "coverage",
            "coverage_over_records",
            "over_thresholds",
            "one_run",
        )
        cells += [f"{r[name]:.3f}" if name in r else UNDEFINED for name in shares]
        lines.append(_line(cells))
    return [*lines, ""]


def _speed(folder: Path) -> list[str]:
    path = folder / "evaluator.jsonl"
    if not path.exists():
        return []
    return [
        "## Speed of the evaluator",
        "",
        evaluator_table(latest(read_records(path))).to_markdown(),
    ]


def page(folder: Path, beside: Path) -> str:
    """Returns the page.

    Args:
      folder: The committed results.
      beside: Directory that the page will lie in; figures are linked relative to it.
    """
    banks = _banks(folder)
    link = os.path.relpath(folder, beside)
    lines = [_HEAD, *_what_was_run(banks)]
    for metric, title in {
        _TPR: "TPR at 0.1% FPR",
        "tpr_at_fpr_0.01": "TPR at 1% FPR",
        "auc": "AUC",
    }.items():
        lines += [f"## {title}", "", *_side_by_side(banks, metric), ""]
    lines += _ordering(banks, folder) + _null(folder) + _speed(folder)
    for bank in banks:
        here = folder / bank.name
        lines += [f"## {bank.title}", "", bank_table(bank.records).to_markdown()]
        if (here / "comparisons.jsonl").exists():
            compared = read_records(here / "comparisons.jsonl")
            if compared:
                lines.append(comparison_table(compared).to_markdown())
        if (here / "audit.jsonl").exists():
            audits = read_records(here / "audit.jsonl")
            lines.append(audit_table(audits).to_markdown())
            # Rows of earlier commits have no bootstrap.
            if audits[0].get("num_resamples"):
                lines.append(records_table(audits).to_markdown())
        lines += [f"![ROC curves of {bank.name}]({link}/{bank.name}/roc.png)", ""]
        if (here / "cost.jsonl").exists():
            lines += [cost_table(read_records(here / "cost.jsonl")).to_markdown()]
            lines += [
                f"![Attacks against references, {bank.name}]({link}/{bank.name}/cost.png)",
                "",
            ]
    return "\n".join(lines).rstrip() + "\n"


def with_table(readme: str, folder: Path) -> str:
    """Returns the text of a README with the table of TPRs between its markers.

    Raises:
      InputError: the markers are not there, once each and in order.
    """
    start, end = MARKERS
    if (
        readme.count(start) != 1
        or readme.count(end) != 1
        or readme.index(end) < readme.index(start)
    ):
        raise InputError(
            f"the page must have the lines {start} and {end}, once each and in this order"
        )
    before, rest = readme.split(start)
    table = "\n".join(_side_by_side(_banks(folder), _TPR))
    return f"{before}{start}\n\n{table}\n\n{end}{rest.split(end)[1]}"


def main(_: list[str]) -> int:
    target, folder = Path(_PAGE.value), Path(_RESULTS.value)
    written = {target: page(folder, target.parent)}
    if _README.value:
        readme = Path(_README.value)
        if not readme.is_file():
            raise InputError(f"{readme} does not exist")
        try:
            written[readme] = with_table(readme.read_text(), folder)
        except InputError as error:
            raise InputError(f"{readme}: {error}") from error
    for path, text in written.items():
        replace_file(path, text.encode())
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    run(main, "benchmarks.attack_page", __doc__ or "")
