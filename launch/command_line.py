"""What was typed: as a run continues by it, and as a reader may repeat it."""

import shlex
import sys
from pathlib import Path

from jleaks.blackbox.address import redacted

# Flags whose values are places on this machine.
_PLACES = (
    *("data_dir", "raw_dir", "workdir", "models_dir", "out_dir", "peers", "cache_dir"),
    *("coordinator", "process_count", "process_id"),
)


def public_flags() -> str:
    """Returns the command's flags as a reader may repeat them: without this machine's paths."""
    shown = []
    for flag in sys.argv[1:]:
        name, _, value = flag.lstrip("-").partition("=")
        if name == "data_dir" and value:
            shown.append("--data_dir=data")
        elif name not in _PLACES and not value.startswith("/"):
            # An address may hold a password.
            shown.append(redacted(flag))
    return shlex.join(shown)


def public_command() -> str:
    """Returns the command for a report: as `command_line`, without this machine's paths."""
    return f"{program()} {public_flags()}".strip()


def program() -> str:
    """Returns what stands before the flags."""
    program = sys.argv[0]
    return f"python -m launch.{Path(program).stem}" if program.endswith(".py") else program


def command_line() -> str:
    """Returns what was typed, by which a run continues, but for secrets in addresses."""
    return shlex.join([*program().split(), *map(redacted, sys.argv[1:])])
