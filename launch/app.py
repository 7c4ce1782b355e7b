"""What the launchers share: flags, grouped --help, devices and kernels, one line of bad input."""

import dataclasses
import errno
import functools
import sys
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path

from absl import app, flags, logging

from jleaks import registry
from jleaks.blackbox.address import plain
from jleaks.errors import STOPPED, DivergedError, InputError
from jleaks.files import on_disk
from jleaks.training import devices, processes
from jleaks.training.execution import Execution
from jleaks.training.preemption import Preempted, stoppable

from .command_line import program
from .fields import Fields
from .log import close_logs, let_go_of_output

# Exit statuses beside STOPPED; the last is the shells' own.
FAILED, INPUT_ERROR, INTERRUPTED = 1, 2, 130

# Letters of an error that are shown.
_MOST_SAID = 4000

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


_COMPANIONS = Fields(
    devices.Companions, ("distributed", "coordinator", "process_count", "process_id"), SPEED
)


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


def use_all_cores() -> None:
    """Makes one host device per core; must run before JAX starts its backends.

    Raises:
      InputError: several processes were started together.
    """
    check_alone()
    devices.use_all_cores(_NUM_CPU_DEVICES.value, cache_folder())


@functools.cache
def define_execution() -> Fields:
    """Defines the flags of an execution, once; a launcher that trains does so when it is imported."""
    flags.DEFINE_list(
        "log_to",
        [],
        "Where losses and results go as a run works, beside its lines: tensorboard, wandb, or your own by "
        "--plugin, separated by commas.  Files lie in the run's directory.",
        module_name=WHERE,
    )
    names = [field.name for field in dataclasses.fields(Execution)]
    return Fields(Execution, names, SPEED, unset=_UNSET)


def make_execution() -> Execution:
    """Returns the execution that the flags describe."""
    return Execution(**define_execution().values()).validate()


def check_alone() -> None:
    """Checks that this process was started by itself.

    Raises:
      InputError: several were started together.
    """
    number, by = devices.Companions(**_COMPANIONS.values()).validate().started()
    if number > 1:
        raise InputError(
            f"{number} processes were started together ({by}), {program()} is the work of one: start one, "
            "or add --distributed=off to let each work by itself; sweep and bank share theirs"
        )


def start(execution: Execution, together: bool = False) -> Execution:
    """Starts JAX and chooses the kernels; returns the execution with that choice.

    Args:
      execution: As the flags describe it.
      together: Whether several processes may share the work.

    Raises:
      InputError: the flags ask for kernels that cannot be had, JAX has no devices, or it is set to
        compute other numbers; several processes were started together and may not be, or do not find
        each other.
    """
    if not together:
        check_alone()
    companions = devices.Companions(**_COMPANIONS.values()) if together else None
    return devices.start(execution, _NUM_CPU_DEVICES.value, cache_folder(), companions, _lose)


def _lose(line: str, status: int) -> None:
    """Says why this process ends with the others."""
    close_logs("stopped" if status in (STOPPED, _STOPPED_STATUS.value) else "failed")
    print(f"stopped: {line}", file=sys.stderr, flush=True)


def _say(error: object) -> None:
    """Prints the one line of an error; text of files and paths in it is no control of the terminal."""
    print(f"error: {plain(str(error), _MOST_SAID)}", file=sys.stderr)


def _check_places() -> None:
    """Refuses places that are no paths: an empty one would be the root, or wherever the command was typed.

    Raises:
      InputError: a flag names a place in an object store.
      flags.Error: names the flag.
    """
    for name, value in flags.FLAGS.flag_values_dict().items():
        for place in value if isinstance(value, list) else [value]:
            if isinstance(place, str):
                on_disk(place, f"--{name}")
    for flag in flags.FLAGS.flags_by_module_dict().get(WHERE, ()):
        if not isinstance(value := flag.value, str):
            continue
        if not value:
            raise flags.Error(
                f"--{flag.name} is empty, expected a value; leave it out for its default"
            )
        try:
            value.encode()
        except UnicodeEncodeError:
            raise flags.Error(f"--{flag.name} is {value!a:.200}, expected text in UTF-8") from None


def run(
    main: Callable[[list[str]], int],
    program: str,
    doc: str,
    positional: str | None = None,
    takes_rest: bool = False,
) -> None:
    """Parses flags, calls `main`, exits with its status.

    Bad input is one line and status 2, a diverging loss one and status 1; a stop signal that was obeyed
    is one line and status 75, or what --stopped_status says.

    Args:
      main: Returns the exit status.
      program: What a user types before the flags.
      doc: What --help begins with.
      positional: Flag that a bare argument stands for, if any does.
      takes_rest: Whether `main` is handed what stands behind `--`.
    """

    def parse(argv: list[str]) -> list[str]:
        own = argv[1 : argv.index("--")] if takes_rest and "--" in argv else argv[1:]
        if any(arg in ("--help", "-h", "-help", "--helpfull") for arg in own):
            print(help_text(program, doc))
            sys.exit(0)
        try:
            rest = flags.FLAGS(argv)
            if positional is not None and len(rest) == 2:
                flags.FLAGS[positional].value = rest.pop()
            _check_places()
        except (InputError, flags.Error, OSError, UnicodeDecodeError) as error:
            # The last two of a --flagfile.
            _say(error)
            sys.exit(INPUT_ERROR)
        if len(rest) > 1 and not (takes_rest and "--" in argv):
            _say(f"not a flag: {' '.join(rest[1:])}")
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
                status, ended, stopped = main(argv), "finished", None
                # Here what cannot be written is still caught.
                if sys.stdout is not None:
                    sys.stdout.flush()
        except Preempted as error:
            stopped = f"{error}; the same command continues"
            status, ended = _STOPPED_STATUS.value, "stopped"
        except KeyboardInterrupt:
            close_logs("failed")
            said = "interrupted; the same command continues from what was saved"
            _say(said)
            processes.end(INTERRUPTED, said)
            return INTERRUPTED
        except (InputError, DivergedError) as error:
            close_logs("failed")
            _say(error)
            status = INPUT_ERROR if isinstance(error, InputError) else FAILED
            processes.end(status, str(error))
            return status
        except MemoryError as error:
            close_logs("failed")
            said = f"there is not enough memory ({error or 'no more is said'}): ask for less"
            _say(said)
            processes.end(INPUT_ERROR, said)
            return INPUT_ERROR
        except OSError as error:
            close_logs("failed")
            if isinstance(error, BrokenPipeError):
                # Whoever read the output has read enough.
                let_go_of_output()
                return FAILED
            if error.filename is None and error.errno != errno.ENOSPC:
                raise
            # A path of the user's that no reader or writer has looked at; or the output, on a full disk.
            said = f"cannot use {error.filename or 'the output'!s:.200}: {error.strerror}"
            _say(said)
            let_go_of_output()
            processes.end(INPUT_ERROR, said)
            return INPUT_ERROR
        except BaseException as error:
            processes.await_end(error)
            close_logs("failed")
            if processes.count() > 1:
                traceback.print_exc()
                processes.end(FAILED, f"{type(error).__name__}: {error}")
            raise
        close_logs(ended)
        if stopped is not None and processes.is_first():
            print(stopped)
        processes.end(status, stopped)
        return status

    app.run(guarded, flags_parser=parse)
