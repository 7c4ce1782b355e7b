"""Tables of what was measured on accelerators, from rows of benchmarks.accelerator."""

import re
from collections.abc import Sequence

from benchmarks.accelerator import accelerator
from benchmarks.harness import Layout, Row
from jleaks.report.table import Table

# What tells fleets apart.
_FLEET = ("network", "precision", "form", "num_models", "group", "batch")


def latest(rows: Sequence[Row], what: str) -> list[Row]:
    """Returns the rows about one thing that did not fail, the last one of each case on each device."""
    found = {}
    for row in rows:
        if row["what"] == what and "failed" not in row:
            key = row["device"], *(row.get(name) for name in _FLEET)
            # Where it stood first.
            found[key] = row
    return list(found.values())


def named(row: Row) -> str:
    """Returns a device's name as people say it."""
    return re.sub(r"^gpu |( 80GB HBM3)? x\d+$", "", row["device"])


def per_model_step(row: Row) -> float:
    """Returns the microseconds of one model's step, of a fleet that was timed."""
    return 1e6 / row["model_steps_per_second"]


def measured_of(compiled: Row, rows: Sequence[Row]) -> float | None:
    """Returns what a compiled step was measured to take a model on the device it was compiled for."""
    for row in latest(rows, "fleet"):
        same = all(row.get(k) == compiled.get(k) for k in _FLEET)
        if same and compiled["device"] in named(row).lower():
            return per_model_step(row)
    return None


_BESIDE = Layout(
    "Predicted without a device, and measured",
    "Microseconds of one model's step. Predicted from the compiled programs of that time; measured: all "
    "models of the fleet, in one call, the median of three.",
    [
        ("Case", "{case}"),
        ("Precision", "{precision}"),
        ("Form", lambda r: r.get("form") or "-"),
        ("Models", "{num_models:,}"),
        ("Together", "{group:,}"),
        ("Predicted", "{microseconds:,.2f}"),
        ("Measured", "{measured:,.2f}"),
        ("times", lambda r: f"{r['measured'] / r['microseconds']:.2f}"),
    ],
    num_text_columns=3,
)  # fmt: skip

_KERNELS = Layout(
    "Where the time goes",
    "By JAX's profiler, of a step of the models that advance together (evaluator: of all); busy: the share "
    "of it in which a kernel ran. The longest kernels, with their share of all kernels' time.",
    [
        ("Program", lambda r: r["network"] + (f", {r['form']}" if r.get("form") else "")),
        ("Device", named),
        ("Models", "{num_models:,}"),
        ("Together", "{group:,}", "-"),
        ("Kernels", "{launches:,.0f}"),
        ("us", "{microseconds:,.0f}"),
        ("Busy", lambda r: f"{100 * r['busy_microseconds'] / r['span_microseconds']:.0f}%"),
        ("Longest", lambda r: "; ".join(_shares(r))),
    ],
    num_text_columns=2,
)  # fmt: skip

_RATIOS = Layout(
    "Beside PyTorch on the same device",
    "Model steps a second: jleaks trains all models together, PyTorch {torch} one after another; eager: "
    "torch.optim's fused Adam; graphed: the whole step as one CUDA graph. In turns, three of half a "
    "second each: median, least and largest ratio.",
    [
        ("Network", "{network}"),
        ("Precision", "{precision}"),
        ("Device", named),
        ("Models", "{num_models:,}"),
        ("jleaks", lambda r: f"{r['model_steps_per_second']['jleaks']['median']:,.0f}"),
        ("eager", lambda r: f"{r['model_steps_per_second']['eager']['median']:,.0f}", "-"),
        ("graphed", lambda r: f"{r['model_steps_per_second']['graphed']['median']:,.0f}", "-"),
        ("times eager", lambda r: _times(r, "eager"), "-"),
        ("times graphed", lambda r: _times(r, "graphed"), "-"),
    ],
    num_text_columns=3,
)  # fmt: skip

_BANKS = Layout(
    "A whole bank, and its attacks",
    "Networks of 1,024 and 512. Seconds, compilation included: training, answers of every model to every "
    "record, quantile regressions, all of it with the files; then seven attacks on all models, compiled "
    "first and again.",
    [
        ("Task", "{task}"),
        ("Device", named),
        ("Models", "{num_models:,}"),
        ("Records", "{num_records:,}"),
        ("Epochs", "{epochs}"),
        *[
            (head, lambda r, name=name: f"{r['seconds'][name]:.1f}")
            for head, name in (
                ("Training", "training"), ("Answers", "query"), ("Quantiles", "quantiles"),
                ("All", "all"),
            )
        ],
        ("Attacks,\nfirst", lambda r: f"{r['evaluation_seconds']['first']:.1f}"),
        ("again", lambda r: f"{r['evaluation_seconds']['second']:.1f}"),
    ],
    num_text_columns=2,
)  # fmt: skip


# Of libraries' kernels, by what their long names hold: what people call them.
_CALLED = {
    r"fft2d_r2c": "Fourier transform",
    r"dgrad_implicit_gemm": "cuDNN gradient of inputs",
    r"fprop_implicit_gemm": "cuDNN convolution",
    r"ImplicitGemm": "cuDNN implicit product",
    r"RadixSort": "sort",
    r"convertTensor": "cuDNN conversion",
    r"gemm.*(ffma|simt)": "product outside of matrix units",
    r"xmma_gemm|cutlass.*gemm|^gemm_fusion": "product",
}


def _called(name: str) -> str:
    return next((text for pattern, text in _CALLED.items() if re.search(pattern, name)), name)


def _shares(row: Row) -> list[str]:
    return [
        f"{_called(kernel['name'])} {100 * kernel['microseconds'] / row['microseconds']:.0f}%"
        for kernel in row["longest"][:5]
    ]


def _times(row: Row, name: str) -> str:
    found = row["times_torch"][name]
    return f"{found['median']:,.1f} ({found['least']:,.1f}-{found['largest']:,.1f})"


def measured_tables(rows: Sequence[Row], compiled: Sequence[Row]) -> list[Table]:
    """Returns all tables, those without rows left out.

    Args:
      rows: Of benchmarks.accelerator, of every device.
      compiled: Of benchmarks.accelerator.compiled, of the programs that were measured.
    """
    beside = [
        {**row, "measured": found}
        for row in compiled
        if row.get("microseconds") and (found := measured_of(row, rows)) is not None
    ]
    fleets = latest(rows, "fleet")
    tables = [_BESIDE.table(beside)] if beside else []
    tables += [
        accelerator.LAYOUT.table([row for row in fleets if row["device"] == device])
        for device in dict.fromkeys(row["device"] for row in fleets)
    ]
    for layout, what in ((_RATIOS, "ratio"), (_BANKS, "bank"), (_KERNELS, "kernels")):
        if mine := latest(rows, what):
            tables.append(layout.table(mine))
    return tables
