"""What the launchers share: grouped --help, devices and kernels, what they print, one line of bad input."""

import dataclasses
import functools
import shlex
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from absl import app, flags, logging
from rich.console import Console

from jleaks import registry
from jleaks.blackbox.address import redacted
from jleaks.errors import DivergedError, InputError
from jleaks.training import devices
from jleaks.training.execution import Execution
from jleaks.training.preemption import Preempted, stoppable

from .fields import Fields

if TYPE_CHECKING:
    from jleaks.training.trainer import Progress

# Exit statuses; the last is BSD's EX_TEMPFAIL, "try again", and INTERRUPTED the shells' own.
FAILED, INPUT_ERROR, STOPPED, INTERRUPTED = 1, 2, 75, 130

# Groups of flags: what they touch.  --help has them in this order, others between WHAT and SPEED.
WHERE = "Where"
WHAT = "What is measured (defines the numbers)"
SPEED = "Speed only"

_NUM_CPU_DEVICES = flags.DEFINE_integer(
    "num_cpu_devices",
    None,
    "Number of host devices to split this machine's cores into where there is no accelerator.  "
    "Default: one a core.",
    lower_bound=1,
    module_name=SPEED,
)
_CACHE = flags.DEFINE_string(
    "cache_dir",
    "~/.cache/jleaks",
    "Where compiled programs and kernels are kept for the next run.",
    module_name=SPEED,
)

_PLUGINS = flags.DEFINE_list(
    "plugin",
    [],
    "Files (FILE.py) or modules of your own, separated by commas, that register tasks, networks, attacks, "
    "defences or experiments.",
    module_name=WHERE,
)

_STOPPED_STATUS = flags.DEFINE_integer(
    "stopped_status",
    STOPPED,
    "Exit status of a run that was told to stop (SIGTERM, SIGINT) and that the same command continues; "
    "0 for schedulers that take anything else for a failure.",
    lower_bound=0,
    upper_bound=255,
    module_name=SPEED,
)

_UNSET = {
    "num_devices": "all",
    "models_per_call": "chosen",
    "models_per_vmap": "chosen",
    "records_per_block": "chosen",
    "convolution": "the backend's fastest",
    "kernels": "host where they can be built",
}


def cache_folder() -> Path:
    """Returns where compiled programs and kernels are kept."""
    return Path(_CACHE.value).expanduser()


def _rank(group: str) -> tuple[int, str]:
    first = group.partition(" ")[0]
    return {"Where": 0, "What": 1, "Speed": 3}.get(first, 2), group


def help_text(program: str, doc: str) -> str:
    """Returns every flag of ours with meaning and default, grouped by what it touches."""
    groups = {
        name: found
        for name, found in flags.FLAGS.flags_by_module_dict().items()
        # absl's own modules have dots or are command lines; our groups are titles.
        if name[:1].isupper()
    }
    wrap = textwrap.TextWrapper(100, " " * 6, " " * 6, break_on_hyphens=False)
    lines = [doc.strip(), "", f"usage: {program} [--flag=value ...]"]
    for group in sorted(groups, key=_rank):
        lines += ["", f"{group}:"]
        for flag in sorted(groups[group], key=lambda f: f.name):
            default = "" if flag.default is None else f"  (default: {flag.default_as_str})"
            lines.append(f"  --{flag.name}")
            lines += map(wrap.fill, f"{flag.help}{default}".splitlines())
    return "\n".join(lines)


# Flags whose values are places on this machine.
_PLACES = ("data_dir", "raw_dir", "workdir", "models_dir", "out_dir", "peers", "cache_dir")


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


def use_all_cores() -> None:
    """Makes one host device per core; must run before JAX starts its backends."""
    devices.use_all_cores(_NUM_CPU_DEVICES.value, cache_folder())


@functools.cache
def define_execution() -> Fields:
    """Defines the flags of an execution, once; a launcher that trains does so when it is imported."""
    names = [field.name for field in dataclasses.fields(Execution)]
    return Fields(Execution, names, SPEED, unset=_UNSET)


def make_execution() -> Execution:
    """Returns the execution that the flags describe."""
    return Execution(**define_execution().values()).validate()


def start(execution: Execution) -> Execution:
    """Starts JAX and chooses the kernels; returns the execution with that choice.

    Raises:
      InputError: the flags ask for kernels that cannot be had, JAX has no devices, or it is set to
        compute other numbers.
    """
    return devices.start(execution, _NUM_CPU_DEVICES.value, cache_folder())


def console() -> Console:
    """Returns the standard output; a log file is not a terminal, so tables get their room there."""
    return Console(width=None if sys.stdout.isatty() else 160)


class Log:
    """Progress as plain lines, at most one every few seconds, each fleet's last one always."""

    def __init__(self, console: Console, every: float = 10.0):
        self._console, self._every, self._last = console, every, 0.0

    def line(self, text: str) -> None:
        """Prints a finished sentence."""
        # A text may quote a file or an endpoint: nothing in it is markup.
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def progress(self, p: "Progress") -> None:
        """Prints where a fleet's training stands."""
        now = time.monotonic()
        if p.done < p.total and now - self._last < self._every:
            return
        self._last = now
        self.line(
            f"  {p.fleet}: {p.done}/{p.total} model-epochs ({100 * p.done / p.total:.0f}%), "
            f"loss {p.loss:.4f}, {p.seconds:.0f} s, {p.eta:.0f} s to go"
        )


def run(
    main: Callable[[list[str]], int], program: str, doc: str, positional: str | None = None
) -> None:
    """Parses flags, calls `main`, exits with its status.

    Bad input is one line and status 2, a diverging loss one and status 1; a stop signal that was obeyed
    is one line and status 75, or what --stopped_status says.

    Args:
      main: Returns the exit status.
      program: What a user types before the flags.
      doc: What --help begins with.
      positional: Flag that a bare argument stands for, if any does.
    """

    def parse(argv: list[str]) -> list[str]:
        if any(arg in ("--help", "-h", "-help", "--helpfull") for arg in argv[1:]):
            print(help_text(program, doc))
            sys.exit(0)
        try:
            rest = flags.FLAGS(argv)
        except flags.Error as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(INPUT_ERROR)
        if positional is not None and len(rest) == 2:
            flags.FLAGS[positional].value = rest.pop()
        if len(rest) > 1:
            print(f"error: not a flag: {' '.join(rest[1:])}", file=sys.stderr)
            sys.exit(INPUT_ERROR)
        return rest

    def guarded(argv: list[str]) -> int:
        if not flags.FLAGS["verbosity"].present:
            # Orbax tells of every step at INFO.
            logging.set_verbosity(logging.WARNING)
        try:
            with stoppable():
                for name in _PLUGINS.value:
                    registry.load(name)
                return main(argv)
        except Preempted as stopped:
            print(f"{stopped}; the same command continues")
            return _STOPPED_STATUS.value
        except KeyboardInterrupt:
            print(
                "error: interrupted; the same command continues from what was saved",
                file=sys.stderr,
            )
            return INTERRUPTED
        except (InputError, DivergedError) as error:
            print(f"error: {error}", file=sys.stderr)
            return INPUT_ERROR if isinstance(error, InputError) else FAILED

    app.run(guarded, flags_parser=parse)
