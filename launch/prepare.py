"""Prepares the real datasets: downloads them, or takes official files on disk, once.

What is prepared already is left alone.  One line per task says what there is.

Example: python -m launch.prepare --tasks=location,mnist --data_dir=data
"""

import sys

from absl import flags

from jleaks import data
from jleaks.data.tasks import PAPER_TASKS
from jleaks.errors import InputError

from .app import WHERE, run

# Exit status of a shell's command that was ended by Ctrl-C.
_INTERRUPTED = 130

_WHAT = "What is prepared"

_DATA_DIR = flags.DEFINE_string(
    "data_dir", "data", "Directory that prepared data and downloads go to.", module_name=WHERE
)
_RAW_DIR = flags.DEFINE_string(
    "raw_dir",
    None,
    "Official files on disk, in place of downloads: one dataset's folder, or one folder for each.",
    module_name=WHERE,
)
_MIRROR = flags.DEFINE_string(
    "mirror", None, "Base address to download from; default the canonical ones.", module_name=WHERE
)
_TASKS = flags.DEFINE_list(
    "tasks",
    ["all"],
    f"Tasks to prepare: all, or some of {', '.join(PAPER_TASKS)}.",
    module_name=_WHAT,
)
_NUM_TERMS = flags.DEFINE_integer(
    "num_terms", 10_000, "Number of terms in the vocabulary of news.", module_name=_WHAT
)
_FACE_SIZE = flags.DEFINE_integer(
    "face_size", 32, "Width and height of face's images, in pixels.", module_name=_WHAT
)
_FACE_CROP = flags.DEFINE_float(
    "face_crop",
    0.5,
    "Centred fraction of each side that is kept of face's images.",
    module_name=_WHAT,
)


def main(argv: list[str]) -> int:
    """Prepares the tasks asked for."""
    del argv
    tasks = list(PAPER_TASKS) if "all" in _TASKS.value else _TASKS.value
    if not tasks:
        raise InputError(f"--tasks names no task; allowed: all, {', '.join(PAPER_TASKS)}")
    try:
        data.prepare(
            tasks,
            _DATA_DIR.value,
            _RAW_DIR.value,
            num_terms=_NUM_TERMS.value,
            face_size=_FACE_SIZE.value,
            face_crop=_FACE_CROP.value,
            mirror=_MIRROR.value,
        )
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return _INTERRUPTED
    return 0


if __name__ == "__main__":
    run(main, "python -m launch.prepare", __doc__ or "")
