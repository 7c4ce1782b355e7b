"""Measures the risk of every single record of a bank: its own ROC curve over the models.

Writes records.csv and records.parquet (one row per attack and record, the most vulnerable first: AUC, TPR
at the record's own FPR, with intervals, and q-values over all records), summary.jsonl, agreement.jsonl
(whether attacks, and the two halves of the models, find the same records), tables.md and two figures.  The
models are dealt into two halves; either half is attacked with the other for references.  A bank stays on
the disk and its records are read in blocks: memory does not grow with their number.

Example: python -m launch.records --bank=checkpoints/bank/location/bank.npz
"""

import dataclasses
import importlib.util
import time
from pathlib import Path

from absl import flags

from jleaks.attacks.options import NAMES, Options, published
from jleaks.errors import InputError
from jleaks.experiments.bank_plan import BankPlan
from jleaks.training.execution import Execution

from .app import SPEED, WHAT, WHERE, run, use_all_cores
from .command_line import public_flags
from .fields import Fields
from .log import console

_BANK = flags.DEFINE_string(
    "bank",
    None,
    "File whose records to judge: bank.npz of launch.bank, or a score file (npz, parquet).",
    module_name=WHERE,
)
_OUT = flags.DEFINE_string(
    "out_dir", None, "Directory to write to; default `records` beside the file.", module_name=WHERE
)
_ATTACKS = flags.DEFINE_list(
    "attacks",
    ["lira_online", "lira_offline", "rmia_online", "loss"],
    f"Attacks to judge records by: all that need no shadow, or some of {', '.join(NAMES)}, and those that "
    "a --plugin registers.",
    module_name=WHAT,
)
_FPRS = flags.DEFINE_list(
    "fprs",
    ["0.1", "0.01", "0.001"],
    "False-positive rates of a record at which its TPR is told, where the models are enough.",
    module_name=WHAT,
)
_CONFIDENCE = flags.DEFINE_float(
    "confidence", 0.95, "Confidence of each record's intervals.", module_name=WHAT
)
_OPTIONS = Fields(
    Options,
    ("gamma", "offline_a", "base_scale"),
    WHAT,
    unset={"offline_a": "as published for the task"},
)
_TEMPERATURE = Fields(BankPlan, ("temperature",), WHAT)
_BLOCK = flags.DEFINE_integer(
    "records_per_block",
    None,
    "Number of records scored at a time; default as many as make a few million numbers.",
    lower_bound=1,
    module_name=SPEED,
)


def _fprs() -> list[float]:
    try:
        found = [float(text) for text in _FPRS.value]
    except ValueError:
        found = []
    if not found or not all(0 < fpr < 1 for fpr in found):
        raise InputError(
            f"--fprs is {','.join(_FPRS.value)}, expected numbers strictly between 0 and 1"
        )
    return sorted(set(found), reverse=True)


def main(_: list[str]) -> int:
    """Judges the records of one bank."""
    from jleaks.attacks import score_files
    from jleaks.attacks.across_halves import refusal
    from jleaks.attacks.registry import get_attacks
    from jleaks.experiments.record_risks import record_risks
    from jleaks.files import replace_file
    from jleaks.metrics.intervals import check_confidence
    from jleaks.report.figures.records import draw_ends, draw_spread
    from jleaks.report.figures.style import png
    from jleaks.report.record_tables import (
        agreement_table,
        pooled_table,
        risk_table,
        strongest_table,
    )
    from jleaks.rows import write_csv, write_parquet, write_rows
    from jleaks.training.reporter import provenance

    if not _BANK.value:
        raise InputError("--bank names the file whose records to judge")
    chosen, fprs = get_attacks(_ATTACKS.value), _fprs()
    if "all" not in _ATTACKS.value:
        # As they are named: the strongest records shown are those of the first.
        chosen.sort(key=lambda attack: _ATTACKS.value.index(attack.name))
    check_confidence(_CONFIDENCE.value)
    use_all_cores()
    output = console()

    def line(text: str) -> None:
        output.print(text, highlight=False, markup=False, soft_wrap=True)

    bank = score_files.read(_BANK.value, _TEMPERATURE.values()["temperature"], on_disk=True)
    for note in bank.meta.get("notes", ()):
        line(note)
    options = dataclasses.replace(
        published(str(bank.meta.get("task", ""))), **_OPTIONS.values()
    ).validate()
    attacks = []
    for attack in chosen:
        if (why := refusal(attack, bank)) is None:
            attacks.append(attack)
        else:
            line(f"{_BANK.value}: {attack.name} left out: {why}")
    if not attacks:
        raise InputError(f"{_BANK.value}: none of the attacks can be run")
    tick = time.monotonic()
    found = record_risks(bank, attacks, options, fprs, _CONFIDENCE.value, _BLOCK.value)
    seconds = time.monotonic() - tick
    line(
        f"{_BANK.value}: {len(found.rows):,} records judged in {seconds:.1f} s, compilation included"
    )
    for note in found.notes:
        line(note)
    folder = Path(_OUT.value or Path(_BANK.value).parent / "records")
    about = {
        **dataclasses.asdict(options),
        "confidence": _CONFIDENCE.value,
        "notes": found.notes,
        "evaluation_seconds": round(seconds, 3),
        "command": f"jleaks records {public_flags()}".strip(),
        **provenance(bank.meta.get("fingerprint", ""), Execution(), bank.format),
    }
    title = f"{bank.meta.get('task', 'bank')}: risk of single records"
    first = attacks[0].name
    of_first = [row for row in found.rows if row["attack"] == first]
    tables = [
        risk_table(found.summary),
        pooled_table(found.summary),
        agreement_table(found.agreement),
        strongest_table(found.rows),
    ]
    ends = draw_ends(f"{title} under {attacks[0].title}", found.scores[first], of_first)
    written = [
        write_csv(folder / "records.csv", found.rows, ()),
        write_rows(folder / "summary.jsonl", [{**row, **about} for row in found.summary], ()),
        write_rows(folder / "agreement.jsonl", found.agreement, ()),
        replace_file(
            folder / "tables.md", "\n".join(table.to_markdown() for table in tables).encode()
        ),
        replace_file(folder / "figures" / "records.png", png(draw_spread(title, found.rows))),
        replace_file(folder / "figures" / "record_scores.png", png(ends)),
    ]
    if importlib.util.find_spec("pyarrow"):
        written.append(write_parquet(folder / "records.parquet", found.rows, ()))
    else:
        line("records.parquet is not written: parquet needs pyarrow (pip install pyarrow)")
    for table in tables:
        output.print(table.to_rich(output))
    for file in written:
        line(f"wrote {file}")
    return 0


if __name__ == "__main__":
    run(main, "python -m launch.records", __doc__ or "")
