"""What the launchers share: grouped --help, device set-up, one line and status 2 for bad input."""

import os
import shlex
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

from absl import app, flags, logging

from jleaks import registry
from jleaks.errors import DivergedError, InputError
from jleaks.training.preemption import Preempted

# Exit statuses.
FAILED, INPUT_ERROR = 1, 2

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

_PLUGINS = flags.DEFINE_multi_string(
    "plugin",
    [],
    "File (FILE.py) or module of your own that registers tasks, networks, attacks, defences or "
    "experiments; may be given several times.",
    module_name=WHERE,
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
            shown.append(flag)
    return shlex.join(shown)


def use_all_cores() -> None:
    """Makes one host device per core, so that a fleet spreads over a CPU as over eight GPUs.

    Compiled programs are kept in `--cache_dir`.

    Must run before JAX starts its backends.
    """
    import jax

    count = _NUM_CPU_DEVICES.value or len(os.sched_getaffinity(0))
    jax.config.update("jax_num_cpu_devices", count)
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "programs"))
    # Small programs by the hundred are what a short run waits for.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def run(main: Callable[[list[str]], int], program: str, doc: str) -> None:
    """Parses flags, calls `main`, exits with its status.

    Bad input is one line and status 2, a diverging loss one and status 1; a stop signal that was obeyed
    is one line and status 0.

    Args:
      main: Returns the exit status.
      program: What a user types before the flags.
      doc: What --help begins with.
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
        if len(rest) > 1:
            print(f"error: not a flag: {' '.join(rest[1:])}", file=sys.stderr)
            sys.exit(INPUT_ERROR)
        return rest

    def guarded(argv: list[str]) -> int:
        if not flags.FLAGS["verbosity"].present:
            # Orbax tells of every step at INFO.
            logging.set_verbosity(logging.WARNING)
        try:
            for name in _PLUGINS.value:
                registry.load(name)
            return main(argv)
        except Preempted as stopped:
            print(f"{stopped}; the same command continues")
            return 0
        except (InputError, DivergedError) as error:
            print(f"error: {error}", file=sys.stderr)
            return INPUT_ERROR if isinstance(error, InputError) else FAILED

    app.run(guarded, flags_parser=parse)
