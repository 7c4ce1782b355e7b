"""Metric writers: TensorBoard, Weights & Biases, or a user's own, by name (`--log_to`).

An entry of `WRITERS` is a function of a run's folder that returns a `Writer`; a file of a user registers
more (`--plugin`).  What a writer needs is imported when it is asked for.
"""

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from jleaks.errors import InputError
from jleaks.registry import Registry


class Writer(Protocol):
    """Takes numbers as they come."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Takes numbers by name; `step` counts model-epochs of the fleet in training."""

    def close(self) -> None:
        """Writes what is left."""


WRITERS: Registry[Callable[[Path], Writer]] = Registry("metric writer")
"""From a name to what makes a writer; one that has `needs`, a module, is refused where it is missing."""


class _TensorBoard:
    """Event files in `tensorboard/` of the run's folder, for `tensorboard --logdir`."""

    needs = "tensorboardX"

    def __init__(self, folder: Path):
        writers: Any = importlib.import_module(self.needs)
        self._writer = writers.SummaryWriter(str(folder / "tensorboard"))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    """A run of Weights & Biases, its files in `wandb/` of the run's folder.

    The environment says where it goes: WANDB_MODE=offline keeps it here, WANDB_PROJECT names the project.
    """

    needs = "wandb"

    def __init__(self, folder: Path):
        wandb: Any = importlib.import_module(self.needs)
        self._run = wandb.init(dir=str(folder), name=folder.name, settings={"silent": True})

    def write(self, step: int, values: Mapping[str, float]) -> None:
        # Fleets count for themselves, and wandb's own step must rise: each has an axis of its own.
        for name, value in values.items():
            self._run.log({name: value, f"{name}/model-epochs": step})

    def close(self) -> None:
        self._run.finish()


WRITERS.register("tensorboard", _TensorBoard)
WRITERS.register("wandb", _WeightsAndBiases)


class MetricWriters:
    """The writers that a run was asked for; made when the first number comes.

    A run that is refused, or finished before, thus leaves none of their files.
    """

    def __init__(self, names: Sequence[str], folder: str | os.PathLike[str]):
        """Looks the names up.

        Raises:
          InputError: there is no such writer, or what it needs is not installed.
        """
        self._makers = [WRITERS.find(name) for name in dict.fromkeys(names)]
        for name in names:
            module = getattr(WRITERS[name], "needs", None)
            if module is not None and importlib.util.find_spec(module) is None:
                raise InputError(
                    f"--log_to={name} needs {module}, which is not installed: pip install 'jleaks[{name}]'"
                )
        self._folder = Path(folder)
        self._open: list[Writer] | None = None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Hands numbers by name to every writer."""
        if self._open is None:
            self._open = [make(self._folder) for make in self._makers]
        for writer in self._open:
            writer.write(step, values)

    def close(self) -> None:
        """Ends all writers; what goes wrong with one takes nothing from a run's results."""
        for writer in self._open or []:
            with contextlib.suppress(Exception):
                writer.close()
