"""What benchmarks.checks.precision compares: who with whom, the paired differences, their table."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jleaks.errors import InputError
from jleaks.metrics.intervals import Interval, paired_t_interval
from jleaks.metrics.resampling import OverTargets, paired_targets
from jleaks.report.numbers import few_mark, interval_text, notes
from jleaks.report.table import Cell, Table
from jleaks.training.execution import Execution
from jleaks.training.recipe import NORMALISED_MODELS, Recipe

_OTHER_ORDER = "float32, other order"

# By (attack, metric): a value per seed or target of a bank, in the same order for every contender.
Values = dict[tuple[str, str], list[float | None] | OverTargets]


class Contender(NamedTuple):
    """One way to train the same models."""

    name: str
    recipe: Recipe
    execution: Execution


def contenders(formats: Sequence[str], recipe: Recipe, execution: Execution) -> list[Contender]:
    """Returns float32, float32 again, and the formats that are compared with it.

    Raises:
      InputError: there is no such format, or it is float32.
    """

    def contender(name: Any, how: Execution) -> Contender:
        return Contender(name, dataclasses.replace(recipe, precision=name), how)

    found = [contender("float32", execution)]
    if recipe.model not in NORMALISED_MODELS:
        halves = dataclasses.replace(execution, records_per_block=-(-recipe.batch_size // 2))
        found.append(found[0]._replace(name=_OTHER_ORDER, execution=halves))
    # Host kernels do not serve narrow formats: with XLA's, blocks are chosen for them, too.
    plain = dataclasses.replace(execution, kernels="xla")
    for name in formats:
        new = contender(name, execution if name == "default" else plain)
        if problems := new.recipe.problems("model"):
            raise InputError("; ".join(problems))
        if name == "float32" or name in {c.name for c in found}:
            raise InputError(f"--precisions names {name}, which is compared with or named twice")
        found.append(new)
    return found


def compared(reference: Values, other: Values) -> list[dict[str, Any]]:
    """Returns, per metric, the mean of either and the paired difference, other minus reference.

    `intervals` says what the interval is over: seeds, or the records that a bank's targets share.
    """
    found = []
    about: dict[str, Any]
    for (attack, metric), values in reference.items():
        theirs = other[attack, metric]
        if isinstance(theirs, OverTargets) and isinstance(values, OverTargets):
            over, interval = "records", paired_targets(theirs, values).difference
            first, second = (np.asarray(v.values, np.float64) for v in (theirs, values))
        else:
            first, second = (np.asarray(v, np.float64) for v in (theirs, values))
            over, interval = "seeds", paired_t_interval(first, second).within(-1, 1)
        numbers = {
            "reference": np.nanmean(second),
            "mean": np.nanmean(first),
            "difference": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "largest": np.nanmax(np.abs(first - second)),
        }
        rounded = {k: round(float(v), 6) if np.isfinite(v) else None for k, v in numbers.items()}
        about = {"attack": attack, "metric": metric, "intervals": over}
        if isinstance(values, OverTargets):
            # In a bank of halves members and non-members are equally many.
            about["num_nonmembers"] = values.num_records
        found.append({**about, **rounded, "n": interval.n})
    return found


def difference_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Returns the table of one run: a line per metric, a column per format."""
    names = list(dict.fromkeys(r["precision"] for r in rows))
    lines: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
    for r in rows:
        key = (f"{r['task']}, {r['part']}", r["attack"], r["metric"])
        lines.setdefault(key, {})[r["precision"]] = r

    def shown(r: dict[str, Any] | None) -> Cell:
        if r is None or r["difference"] is None:
            return Cell("-")
        # Earlier rows of banks have t intervals over targets, which are too narrow to be shown.
        known = r["low"] is not None and (r["part"] != "bank" or r.get("intervals") == "records")
        low, high = (r["low"], r["high"]) if known else (math.nan, math.nan)
        interval = Interval(r["difference"], low, high, math.nan, r["n"], "paired")
        mark = few_mark(r["metric"], r.get("num_nonmembers"))
        text = interval_text(interval, (r["n"], r["n"]), sign="+", digits=5, mark=mark)
        return Cell(text, marked=low > 0 or high < 0)

    body = []
    for key, by_name in lines.items():
        first = next(iter(by_name.values()))
        reference = "-" if first["reference"] is None else f"{first['reference']:.4f}"
        body.append((*map(Cell, (*key, reference)), *(shown(by_name.get(n)) for n in names)))
    signs = notes([cell.text for row in body for cell in row])
    first = rows[0]
    sources = ", ".join(dict.fromkeys(r["source"] for r in rows))
    return Table(
        title="What narrower operands of products change: mean paired difference from float32",
        caption=f"Means over {_counts(rows)}.  ±: half-width of a 95% interval, t over seeds, over the "
        "shared records for targets of a bank, none for banks evaluated before intervals were over "
        "records; bold or * where it leaves out zero, which chance alone does once in twenty.  "
        f"{_OTHER_ORDER}: gradients added up in two halves.  Records: {sources}.  Epochs: "
        f"{first['epochs']}.  On {first['device']}, commit {first['commit']}."
        f"{'  ' + signs if signs else ''}",
        heads=("Task", "Attack", "Metric", "float32", *names),
        num_text_columns=3,
        rows=tuple(body),
    )


def _counts(rows: Sequence[dict[str, Any]]) -> str:
    most = {r["over"]: max(q["n"] for q in rows if q["over"] == r["over"]) for r in rows}
    return " or ".join(f"{n} {over}" for over, n in most.items())
