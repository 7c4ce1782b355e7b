"""Preparing datasets: from the official distributions to records on disk, once."""

import contextlib
import dataclasses
import importlib
import io
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jleaks import locks
from jleaks.data import prepared
from jleaks.data.sources.download import fetch
from jleaks.data.tasks import TASKS, Task
from jleaks.errors import InputError

if TYPE_CHECKING:
    from jleaks.data.sources.builder import RecordsBuilder

# Records of one value throughout, as a share of all, from which something may be wrong.  Of the published
# datasets News has the most: 3% of its posts have no body.
_MANY_CONSTANT = 0.1

# Module and class of each dataset's builder; importing one imports TFDS.
_BUILDERS = {
    "adult": ("adult", "Adult"),
    "cifar10": ("cifar", "Cifar10"),
    "cifar100": ("cifar", "Cifar100"),
    "face": ("face", "Face"),
    "location": ("location", "Location"),
    "mnist": ("mnist", "Mnist"),
    "news": ("news", "News"),
    "purchase": ("purchase", "Purchase"),
}


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What became of one task.

    Attributes:
      description: See `jleaks.data.describe`.
      seconds: What it took.
      fresh: Whether it was prepared now rather than before.
      constant_because: What makes records of one value throughout.
    """

    description: dict[str, Any]
    seconds: float
    fresh: bool
    constant_because: str = ""

    @property
    def warning(self) -> str | None:
        """One line where so many records have nothing in them that something may be wrong."""
        count, total = self.description.get("num_constant", 0), self.description["num_records"]
        if count <= _MANY_CONSTANT * total:
            return None
        return (
            f"{self.description['task']}: {count:,} of {total:,} records have one value throughout: "
            f"{self.constant_because}"
        )

    def __str__(self) -> str:
        what, sizes = self.description, self.description["class_sizes"]
        parameters = ", ".join(f"{key} {value}" for key, value in what["parameters"].items())
        return (
            f"{what['task']}: {what['num_records']:,} records, {len(sizes)} classes of "
            f"{min(sizes):,} to {max(sizes):,}, {what['source']}"
            + (f" ({parameters})" if parameters else "")
            + self._constant()
            + (f", prepared in {self.seconds:.1f} s" if self.fresh else ", already prepared")
        )

    def _constant(self) -> str:
        """How many records have nothing in them; nothing of data prepared before this was counted."""
        count, zero = (self.description.get(f"num_{name}", 0) for name in ("constant", "zero"))
        if not count:
            return ""
        share = 100 * count / self.description["num_records"]
        what = "all zeros" if count == zero else f"of one value throughout, {zero:,} all zeros"
        return f", {count:,} ({share:.1f}%) {what}"


def prepare(
    tasks: Sequence[str],
    data_dir: str | os.PathLike[str],
    raw_dir: str | os.PathLike[str] | None = None,
    *,
    num_terms: int = 10_000,
    face_size: int = 32,
    face_crop: float = 0.5,
    mirror: str | None = None,
    report: Callable[[str], None] = print,
) -> list[Prepared]:
    """Prepares tasks below `data_dir`; those that are prepared already are left alone.

    Args:
      tasks: Task names.
      data_dir: Where prepared data goes, and downloads (`data_dir/downloads`).
      raw_dir: Files of the official distributions, to be used in place of downloads: the folder of
        one dataset, or one with a folder for each (named as the dataset; also `lfw` for Face and
        `purchase_standin` for Purchase).
      num_terms: News: size of the vocabulary.
      face_size: Face: height and width in pixels.
      face_crop: Face: side of the centred square that is kept, as a fraction.
      mirror: Base address to download from in place of the canonical addresses.
      report: Receives lines of progress, and one line for each task when it is done.

    Returns:
      One entry for each task, in order.

    Raises:
      InputError: a task, parameter, folder, download or raw file is not as it must be.  With
        several tasks, those that can be prepared are, and the error names the others.
    """
    chosen = [TASKS.find(name) for name in tasks]
    for task in chosen:
        if task.data is not None:
            raise InputError(f"{task.name} brings its own data: there is nothing to prepare")
    raw_path = None if raw_dir is None else Path(raw_dir).absolute()
    if raw_path is not None and not raw_path.is_dir():
        raise InputError(f"raw_dir {raw_dir} is not a folder")
    try:
        face_module = importlib.import_module("jleaks.data.sources.face")
        news_module = importlib.import_module("jleaks.data.sources.news")
    except ImportError as error:
        raise prepared.not_installed(error) from error
    configs: dict[str, Any] = {
        "face": face_module.face_config(face_size, face_crop),
        "news": news_module.news_config(num_terms),
    }
    data_path = Path(data_dir).absolute()
    done, failed = [], []
    told = f"waiting for another process that prepares in {data_path}"
    with locks.alone(data_path / ".prepare.lock", lambda _: report(told)):
        for task in chosen:
            start = time.monotonic()
            try:
                fresh = _prepare(
                    task, data_path, raw_path, configs.get(task.name, task.config), mirror, report
                )
                description = prepared.describe(task.name, data_path)
            except InputError as error:
                if len(chosen) == 1:
                    raise
                reason = str(error).removeprefix(f"{task.name}: ")
                report(f"{task.name}: not prepared: {reason}")
                failed.append(task.name)
                continue
            because = _builder_class(task).CONSTANT_BECAUSE
            done.append(Prepared(description, time.monotonic() - start, fresh, because))
            report(str(done[-1]))
            if done[-1].warning is not None:
                report(f"warning: {done[-1].warning}")
    if failed:
        raise InputError(f"{len(failed)} of {len(chosen)} tasks not prepared: {', '.join(failed)}")
    return done


def _prepare(
    task: Task,
    data_dir: Path,
    raw_dir: Path | None,
    config: Any,
    mirror: str | None,
    report: Callable[[str], None],
) -> bool:
    """Prepares one task unless it has been; returns whether it had to."""
    builder_class = _builder_class(task)
    builder = _make_builder(builder_class, task, config, data_dir)
    path = Path(builder.data_path)
    folder = None if raw_dir is None else _raw_folder(builder_class, raw_dir)
    if prepared.is_complete(path):
        if folder is not None:
            _check_same_inputs(builder_class, task, path, folder)
        prepared.point(task.name, data_dir, path)
        return False
    if folder is None:
        folder = data_dir / "downloads" / task.dataset
        for download in builder_class.DOWNLOADS:
            fetch(
                download, folder, mirror=mirror, report=lambda line: report(f"{task.name}: {line}")
            )
    builder_class.find(folder)
    report(f"{task.name}: reading {folder}")
    _build(builder, path, data_dir, folder)
    prepared.point(task.name, data_dir, path)
    return True


def _builder_class(task: Task) -> Any:
    module, name = _BUILDERS[task.dataset]
    return getattr(importlib.import_module(f"jleaks.data.sources.{module}"), name)


def _make_builder(builder_class: Any, task: Task, config: Any, data_dir: Path) -> "RecordsBuilder":
    # TFDS wants a configuration that the class knows already by its name.
    name = getattr(config, "name", config)
    if name in builder_class.builder_configs:
        config = name
    try:
        with _quiet():
            return builder_class(config=config, data_dir=data_dir, file_format="array_record")
    # TFDS reads what is prepared already; damaged files make it raise all sorts of exceptions.
    except Exception as error:
        raise prepared.damaged(task.name, data_dir / task.dataset, error) from error


def _build(builder: "RecordsBuilder", path: Path, data_dir: Path, folder: Path) -> None:
    """Lets TFDS write the records; they appear under `path` complete or not at all."""
    import tensorflow_datasets as tfds

    # Nobody else prepares here (`_locked`): what is unfinished was killed.
    for unfinished in path.parent.glob("incomplete.*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    bars = sys.stderr.isatty()
    if not bars:
        tfds.disable_progress_bar()
    try:
        # TFDS announces itself on standard output, where only our lines belong.
        with _quiet(), contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(
                download_dir=data_dir / "downloads",
                download_config=tfds.download.DownloadConfig(manual_dir=folder),
                file_format="array_record",
            )
    except OSError as error:
        raise InputError(
            f"{builder.task.name}: cannot write below {data_dir} or read {folder}: "
            f"{error.strerror or error}"
        ) from error
    finally:
        if not bars:
            tfds.enable_progress_bar()


def _raw_folder(builder_class: Any, raw_dir: Path) -> Path:
    for name in builder_class.RAW_FOLDERS:
        if (raw_dir / name).is_dir():
            return raw_dir / name
    return raw_dir


def _check_same_inputs(builder_class: Any, task: Task, path: Path, folder: Path) -> None:
    """Refuses raw files other than those prepared from, which would be ignored without a word."""
    try:
        inputs = builder_class.find(folder)
    except InputError:
        # None there is none other.
        return
    before = {
        raw["name"]: raw["bytes"] for raw in prepared.read_metadata(task.name, path)["inputs"]
    }
    now = {raw.name: raw.size() for raw in inputs}
    if now != before:
        name = next(name for name in now | before if now.get(name) != before.get(name))
        raise InputError(
            f"{task.name}: {path} was prepared from other files ({name}: {_bytes(before.get(name))} "
            f"then, {_bytes(now.get(name))} now); remove it to prepare it again"
        )


def _bytes(count: int | None) -> str:
    return "absent" if count is None else f"{count:,} bytes"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences TFDS's warning that a configuration is not among the class's own."""
    from absl import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
