"""What committed rows say of the risk of single records: the tables of docs/records.md that have marks.

python -m benchmarks.pages.records

One finite pool's part in that risk; records under thousands of models, at their own FPR of 0.1%, beside
what is published; time and memory of banks of growing size.
"""

from pathlib import Path

from benchmarks.checks import pool_bias
from benchmarks.harness import Command, Layout, Row, where
from benchmarks.pages import told, write
from benchmarks.scaling import bank_memory
from jleaks import json_lines
from jleaks.attacks.registry import ATTACKS

COMMAND = Command(
    "benchmarks.pages.records",
    __doc__,
    pool_bias=where("Rows of benchmarks.checks.pool_bias.", "results/records/pool_bias.jsonl"),
    thousands=where(
        "Folder of what jleaks records wrote of a bank of thousands.",
        "results/records/location_20000",
    ),
    memory=where(
        "Rows of benchmarks.scaling.bank_memory.", "results/records/location/memory.jsonl"
    ),
    page=where("The page whose tables are written.", "docs/records.md"),
)

# Aerni, Zhang & Tramer 2024 (arXiv 2404.17399): what they report, and of what.
_PUBLISHED = {
    "title": "LiRA, Aerni et al. 2024: CIFAR-10",
    "models": 20_000,
    "risk": {"mean": 0.0398, "max": 0.9989},
}

_RISKS = Layout(
    "TPR at a record's own FPR of 0.1%",
    "Over the records: each is told by the models that did and did not train on it, of either half of the "
    "models with the other half as references.  Pooled: of all pairs of a record and a model, at one "
    "threshold.",
    [
        ("Attack", "{title}"),
        ("Models", "{models:,}"),
        ("Mean", "{risk[mean]:.2%}"),
        ("Median", "{risk[median]:.2%}", "-"),
        ("Best 1%", "{risk[q99]:.2%}", "-"),
        ("Largest", "{risk[max]:.2%}"),
        ("Pooled", "{pooled[mean]:.2%}", "-"),
    ],
)


def risks(rows: list[Row]) -> str:
    """Returns the table of records' risk under thousands of models, and what made it."""
    lines = [
        {
            "title": f"{ATTACKS[row['attack']].title}: {row['task']}",
            "models": row["num_models"],
            "risk": row["record_tpr_at_own_fpr_0.001"],
            "pooled": row["pooled_raw_tpr_at_fpr_0.001"],
        }
        for row in rows
    ]
    return told(_RISKS.table([*lines, _PUBLISHED]), rows[0])


def main() -> int:
    bias, memory = json_lines.read(COMMAND.pool_bias), json_lines.read(COMMAND.memory)
    found = {
        "pool bias": told(pool_bias.LAYOUT.table(bias), bias[0]),
        "thousands": risks(json_lines.read(Path(COMMAND.thousands) / "summary.jsonl")),
        "bank memory": told(bank_memory.LAYOUT.table(memory), memory[0]),
    }
    return write(COMMAND.page, found)


if __name__ == "__main__":
    COMMAND.run(main)
