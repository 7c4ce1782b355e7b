"""What one finite pool does to the risk of single records, in docs/records.md, from committed rows.

python -m benchmarks.pages.records --pool_bias=results/records/pool_bias.jsonl --page=docs/records.md
"""

from benchmarks.checks.pool_bias import bias_table
from benchmarks.harness import Command, where
from benchmarks.pages import body, made, write
from jleaks import json_lines

COMMAND = Command(
    "benchmarks.pages.records",
    __doc__,
    pool_bias=where("Rows of benchmarks.checks.pool_bias.", "results/records/pool_bias.jsonl"),
    page=where("The page whose table is written.", "docs/records.md"),
)


def main() -> int:
    rows = json_lines.read(COMMAND.pool_bias)
    return write(COMMAND.page, {"pool bias": f"{body(bias_table(rows))}\n\n{made(rows[0])}"})


if __name__ == "__main__":
    COMMAND.run(main)
