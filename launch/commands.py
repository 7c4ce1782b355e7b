"""`jleaks COMMAND [--flag=value ...]`: the launchers under one name."""

import ast
import importlib
import sys
from pathlib import Path

from .app import INPUT_ERROR, run

COMMANDS = (
    *(
        "sweep",
        "bank",
        "attack",
        "records",
        "cascade",
        "imitate",
        "paper",
        "defend",
        "audit",
        "gate",
    ),
    *("serve", "cells", "gather", "prepare", "report", "status"),
)


def summary(command: str) -> str:
    """Returns what a command does: the first line of its module, which is not imported for it."""
    source = Path(__file__).with_name(f"{command}.py").read_text("utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def main() -> None:
    """Runs the command that is named; without one, lists them all."""
    command, *rest = sys.argv[1:] or ["--help"]
    if command in ("--help", "-h", "-help", "help"):
        print("usage: jleaks COMMAND [--flag=value ...]\n")
        for name in COMMANDS:
            print(f"  {name:<8} {summary(name)}")
        print("\njleaks COMMAND --help tells every flag of a command, with its default.")
        return
    if command not in COMMANDS:
        print(
            f"error: unknown command {command!r}; allowed: {', '.join(COMMANDS)}", file=sys.stderr
        )
        sys.exit(INPUT_ERROR)
    module = importlib.import_module(f".{command}", __package__)
    program = f"jleaks {command}"
    sys.argv = [program, *rest]
    doc = (module.__doc__ or "").replace(f"python -m launch.{command}", program)
    run(
        module.main,
        program,
        doc,
        getattr(module, "POSITIONAL", None),
        getattr(module, "TAKES_REST", False),
    )
