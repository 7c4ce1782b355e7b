"""The table of benchmarks.training, from its rows."""

from typing import Any

from benchmarks.training.workload import CONTENDERS, EPOCHS
from jleaks.report.table import Cell, Table


def _range(value: dict[str, float] | None) -> str:
    if value is None:
        return "-"
    return "{median:.2f} ({least:.2f}-{largest:.2f})".format(**value)


def _learned(value: dict[str, float | None]) -> str:
    error = value["standard_error"]
    return f"{value['mean']:.3f}" + ("" if error is None else f"±{error:.3f}".replace("0.", "."))


def training_table(rows: list[dict[str, Any]]) -> Table:
    """Returns the table of one run."""
    body: list[tuple[Cell, ...]] = []
    ends = set()
    for i, r in enumerate(rows):
        head = [r["network"], str(r["num_models"]), CONTENDERS[r["contender"]].title]
        if body and [cell.text for cell in body[-1][:2]] != head[:2]:
            ends.add(i - 1)
        if r["failed"]:
            body.append(tuple(map(Cell, [*head, "failed", *["-"] * 9])))
            continue
        quality = r.get("quality")
        cells = [
            *head,
            "all" if r["extrapolated"] == "no" else str(r["measured_models"]),
            f"{r['microseconds_per_model_step']['median']:,.0f}",
            f"{r['gflops']['median']:.1f} ({r['share_of_gemm']['median']:.0%})",
            _range(r["times_torch_fused"]),
            f"{stacked['median']:.2f}" if (stacked := r["times_best_stacked_torch"]) else "-",
            f"{r['models_per_hour']['median']:,.0f}",
            f"{r['first_call_seconds']['largest']:.1f}",
            f"{r['peak_megabytes']['median']:,.0f}",
            *(_learned(quality[k]) if quality else "-" for k in ("train_loss", "test_accuracy")),
        ]
        body.append(tuple(map(Cell, cells)))
    failures = {f"{CONTENDERS[r['contender']].title}: {r['failed']}" for r in rows if r["failed"]}
    first = rows[0]
    return Table(
        title=f"Training shadow models on {first['cores']} cores of {first['cpu']}",
        caption=f"Medians over {first['turns']} turns (least-largest), commit {first['commit']}, "
        f"{first['source']} records.  Timed: models that were trained at once; their time is multiplied up "
        "to all.  Step: of one model.  GFLOP/s: of necessary operations; their share of the best matrix "
        "product in the same process.  Times: as fast as PyTorch with fused Adam, and as the faster "
        f"torch.func, turn by turn.  Models per hour: of the paper's {EPOCHS} epochs on its parts.  First "
        "call: seconds that only it takes, the longest, without kept programs.  Loss and accuracy: mean "
        "and standard error over models after a few epochs.  " + "  ".join(sorted(failures)),
        heads=(
            *("Network", "Models", "Contender", "Timed", "us per\nstep", "GFLOP/s\n(of GEMM)"),
            *("Times\nfused", "Times\nstacked", "Models\nper hour", "First\ncall", "Peak\nMB"),
            *("Training\nloss", "Test\naccuracy"),
        ),
        num_text_columns=3,
        rows=tuple(body),
        section_ends=frozenset(ends),
    )
