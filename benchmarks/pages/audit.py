"""The tables of docs/audit.md from committed rows: first audits, how often verdicts are wrong, other tools.

python -m benchmarks.pages.audit --page=docs/audit.md
"""

from collections.abc import Mapping, Sequence

from benchmarks.harness import Command, Layout, Row, versions, where
from benchmarks.pages import body, write
from benchmarks.peers import newcomer, peers
from jleaks import json_lines

COMMAND = Command(
    "benchmarks.pages.audit",
    __doc__,
    newcomers=where("Rows of benchmarks.peers.newcomer.", "results/audit_newcomer.jsonl"),
    tools=where("Rows of benchmarks.peers.", "results/audit_peers.jsonl"),
    verdicts=where("Rows of benchmarks.checks.audit_verdicts.", "results/audit_verdicts.jsonl"),
    page=where("The page whose tables are written.", "docs/audit.md"),
)


def _made(rows: Sequence[Row]) -> str:
    """Returns where and how rows were measured, in a sentence."""
    first = rows[0]
    busy = (
        f"; other work ran beside it (load {first['load_before']} before)"
        if first["load_before"] > 0.5
        else ""
    )
    return (
        f"(`{first['command']}`; {first['cores']} cores of {first['cpu']}, commit "
        f"{first['commit']}{busy}; {versions(first)}.)"
    )


def _share(value: float) -> str:
    return f"{value:.1%}"


_VERDICTS = Layout(
    "",
    "",
    (
        ("True AUC", "{auc:.3f}"),
        ("Level reached", lambda row: _levels(row["levels"], row["audits"])),
        *(
            (f"Interval of the {title} covers", lambda row, name=name: _share(row["covered"][name]))
            for title, name in (
                ("TPR at the shadows' threshold", "tpr_of_threshold"),
                ("FPR there", "fpr_of_threshold"),
                ("AUC", "auc"),
            )
        ),
        (
            "Gate at a limit that is the truth: wrong",
            lambda row: _share(1 - row["gate_at_the_truth"]["inconclusive"]),
        ),
    ),
)

_BUDGETS = Layout(
    "",
    "",
    (
        ("Number limited", "{limited}"),
        ("All shadows find", "{truth:.3f}"),
        ("Limit", "{limit:.3f}"),
        *(
            (outcome.capitalize(), lambda row, outcome=outcome: _share(row["verdicts"][outcome]))
            for outcome in ("pass", "fail", "inconclusive")
        ),
        ("Wrong", lambda row: _share(row["wrong"])),
        ("Shadows trained", "{shadows_trained:.1f}"),
    ),
)

# Limits so far from the truth are shown.
_NEAR = 0.0501


def _levels(levels: Mapping[str, int], audits: int) -> str:
    """Returns how often each level was reached, the commonest first."""
    common = sorted(levels.items(), key=lambda item: -item[1])
    return ", ".join(f"{level} {_share(count / audits)}" for level, count in common)


def parts(newcomers: Sequence[Row], tools: Sequence[Row], audits: Sequence[Row]) -> dict[str, str]:
    """Returns the page's tables by their markers.

    Args:
      newcomers: Rows of `benchmarks.peers.newcomer`.
      tools: Rows of `benchmarks.peers`.
      audits: Rows of `benchmarks.checks.audit_verdicts`.
    """
    verdicts = [row for row in audits if "levels" in row]
    budgets = [
        row
        for row in audits
        if "budget" in row and abs(row["limit"] - row["truth"]) < _NEAR and 0 < row["limit"] < 1
    ]
    return {
        "newcomer table": f"{body(newcomer.LAYOUT.table(newcomers))}\n\n{_made(newcomers)}",
        "verdicts table": body(_VERDICTS.table(verdicts)),
        "budget table": body(_BUDGETS.table(budgets)),
        "tools table": f"{body(peers.LAYOUT.table(tools))}\n\n{_made(tools)}",
    }


def main() -> int:
    rows = [json_lines.read(path) for path in (COMMAND.newcomers, COMMAND.tools, COMMAND.verdicts)]
    return write(COMMAND.page, parts(*rows))


if __name__ == "__main__":
    COMMAND.run(main)
