"""The table and the sentences of benchmarks.accelerator, from its rows."""

from collections.abc import Sequence
from typing import Any

from jleaks.report.table import Cell, Table


def _number(value: float | None, unit: float = 1.0, digits: int = 1) -> str:
    return "-" if value is None else f"{value / unit:,.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}%"


def fleet_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Returns the table of all fleets that were timed."""
    lines = []
    for r in rows:
        names = [f"{r['section']}, {r['network']}", r["precision"], r["form"] or "-"]
        numbers = [f"{r['num_models']:,}", f"{r['group']:,}"]
        if "failed" in r:
            cells = [*names, *numbers, r["failed"].split(":")[0], *["-"] * 8]
        else:
            cells = [
                *names,
                *numbers,
                _number(r["model_steps_per_second"], digits=0),
                _number(r["models_per_second"], digits=2),
                _number(r["flops_per_second"], 1e12, 2),
                _percent(r["share_of_flops"]),
                _number(r["bytes_per_second"], 1e9, 0),
                _percent(r["share_of_bytes"]),
                f"{r['roofline'] or '-'} {_percent(r['share_of_roofline'])}",
                _number(r["compile_seconds"]),
                _number(r["program_bytes"], 1e9, 2),
            ]
        lines.append(tuple(map(Cell, cells)))
    first = rows[0]
    return Table(
        title=f"Fleets on {first['device']}",
        caption="Models/s: whole trainings (epochs of the paper on parts of its size), from the rate of "
        "steps.  TFLOP/s of products and GB/s of the least traffic, beside the device's own large "
        "product in that precision and large copy.  Roofline: what binds, and the time it takes at least "
        f"over the time measured.  Commit {first['commit']}.",
        heads=(
            *("Fleet", "Precision", "Form", "Models", "Together", "Model\nsteps/s", "Models/s"),
            *("TFLOP/s", "of\npeak", "GB/s", "of\npeak", "Roofline", "Compile\ns", "GB"),
        ),
        num_text_columns=3,
        rows=tuple(lines),
    )


def sentences(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Returns a sentence per row that is no fleet."""
    found = []
    for r in rows:
        where = " ".join(str(r[k]) for k in ("section", "network", "precision") if r.get(k))
        if "failed" in r:
            found.append(f"{where}: {r['what']} failed: {r['failed']}")
        elif r["what"] == "peak":
            of = "GB/s" if r["of"] == "copy" else "TFLOP/s"
            rate = r["per_second"] / (1e9 if r["of"] == "copy" else 1e12)
            found.append(f"{where}: peak of a {r['of']} {rate:,.2f} {of}")
        elif r["what"] == "start":
            found.append(
                f"{where}: first step {r['seconds_to_first_step']} s after the process began"
            )
        elif r["what"] == "knee":
            best = f"{r['best_model_steps_per_second']:,.0f} model steps/s"
            found.append(
                f"{where}: knee at {r['num_models']} of {r['measured']} models, best {best}"
            )
        elif r["what"] == "best form":
            rates = ", ".join(f"{k} {v:,.0f}" for k, v in r["model_steps_per_second"].items())
            found.append(f"{where}: {r['form']} is the best form of convolution ({rates})")
        elif r["what"] == "extrapolated":
            long = f"{r['num_models']} models, {r['epochs']} epochs"
            found.append(f"{where}: {long} would train in {r['training_seconds']:,.0f} s")
        elif r["what"] == "bank":
            spent = ", ".join(f"{k} {v:,.1f}" for k, v in r["seconds"].items())
            found.append(f"{where}: bank in seconds: {spent}; attacks {r['evaluation_seconds']}")
        elif r["what"] == "ratio":
            times = ", ".join(
                f"{k} {v['median']:.1f} ({v['least']:.1f}-{v['largest']:.1f})"
                for k, v in r["times_torch"].items()
            )
            without = f"; without {r['without']}" if r["without"] else ""
            found.append(f"{where}: {r['num_models']} models, times PyTorch: {times}{without}")
    return found
