"""A bank's answers while it is made: on the disk as they come, model by model, so that any number fits.

answers/NAME.npy       one array of the bank, models on the last axis but one
answers/progress.json  how many models have answered, and the seconds that it took
"""

import json
import math
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from jleaks import npz
from jleaks.errors import InputError
from jleaks.files import replace_file
from jleaks.training import processes

_PROGRESS = "progress.json"


def _checksums(array: np.ndarray, models: range) -> list[int]:
    """Returns the CRC-32 of what each of some models answered, read one model at a time."""
    return [zlib.crc32(np.ascontiguousarray(array[..., model, :]).data) for model in models]


class BankAnswers:
    """The answers of the first so many of M models.

    Attributes:
      num_done: Models that have answered.
      seconds: By stage, of all processes that worked on it.
      packing: How the models were packed, by the last process that asked some.
    """

    def __init__(self, folder: Path, fingerprint: str, num_models: int, dtype: type[np.floating]):
        """Opens what is there, or nothing yet.

        Args:
          folder: Where the answers are.
          fingerprint: Of the bank's plan.
          num_models: M.
          dtype: What floats are kept as.

        Raises:
          InputError: what is there cannot be read.
        """
        self._folder, self._fingerprint = folder, fingerprint
        self._num_models, self._dtype = num_models, dtype
        self.num_done, self.seconds = 0, dict[str, float]()
        self.packing: dict[str, Any] = {}
        self._names: list[str] = []
        # By name, of each model that has answered.
        self._sums: dict[str, list[int]] = {}
        if processes.is_first():
            self._open(folder / _PROGRESS)
        self.num_done = processes.first(lambda: self.num_done)

    def _open(self, path: Path) -> None:
        """Takes up what earlier processes left."""
        if not path.exists():
            return
        try:
            found = json.loads(path.read_bytes())
            if found["fingerprint"] != self._fingerprint:
                raise ValueError(
                    f"it is of plan {found['fingerprint']}, this is {self._fingerprint}"
                )
            self.num_done, self._names = int(found["num_done"]), list(found["names"])
            self.packing = dict(found["packing"])
            self.seconds = {name: float(value) for name, value in found["seconds"].items()}
            if not all(math.isfinite(value) for value in self.seconds.values()):
                raise ValueError("seconds are not finite")
            self._sums = {name: list(found["checksums"][name]) for name in self._names}
            for name in self._names:
                array = self._map(name, "r")
                if array.shape[-2] != self._num_models:
                    raise ValueError(
                        f"{name} has shape {array.shape}, expected {self._num_models} models"
                    )
                if _checksums(array, range(self.num_done)) != self._sums[name]:
                    raise ValueError(f"{name} is not what was kept")
        except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise InputError(
                f"{path} is damaged ({error}); delete {self._folder} to ask the models again"
            ) from error

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.npy"

    def _map(self, name: str, mode: Any, shape: Any = None, dtype: Any = None) -> np.memmap:
        return np.lib.format.open_memmap(self._path(name), mode, dtype, shape)

    def add(self, found: Mapping[str, np.ndarray], seconds: Mapping[str, float]) -> None:
        """Takes over what the next models answered: arrays with models on the last axis but one.

        Raises:
          InputError: the disk is full, or cannot be written.
        """
        (count,) = {array.shape[-2] for array in found.values()}
        if not processes.is_first():
            self.num_done += count
            return
        span = slice(self.num_done, self.num_done + count)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for name, array in found.items():
                dtype = self._dtype if array.dtype.kind == "f" else array.dtype
                if self._names:
                    whole = self._map(name, "r+")
                else:
                    shape = (*array.shape[:-2], self._num_models, array.shape[-1])
                    whole = self._map(name, "w+", shape, dtype)
                if dtype == np.float16:
                    # Confidences beyond half precision's range are as sure as it can say.
                    array = np.clip(array, np.finfo(dtype).min, np.finfo(dtype).max)
                whole[..., span, :] = array
                added = range(self.num_done, self.num_done + count)
                self._sums.setdefault(name, []).extend(_checksums(whole, added))
                # Closed again: what is mapped counts as this process's memory.
                whole.flush()
                del whole
            self._names = list(found)
            self.num_done += count
            for name, value in seconds.items():
                self.seconds[name] = self.seconds.get(name, 0.0) + value
            self._note()
        except OSError as error:
            raise InputError(f"cannot write to {self._folder}: {error.strerror}") from error

    def _note(self) -> None:
        about = {
            "fingerprint": self._fingerprint,
            "num_done": self.num_done,
            "names": self._names,
            "checksums": self._sums,
            "seconds": self.seconds,
            "packing": self.packing,
        }
        replace_file(self._folder / _PROGRESS, json.dumps(about).encode())

    def save(
        self,
        path: Path,
        arrays: Mapping[str, np.ndarray],
        meta: Mapping[str, Any],
        chosen: Bool[np.ndarray, "models"],
    ) -> None:
        """Writes the bank's file: the answers of chosen models, further arrays, and its description.

        Raises:
          InputError: the disk is full, or cannot be written.
        """
        files = {name: self._path(name) for name in self._names}
        if not chosen.all():
            files = {name: self._part(name, np.flatnonzero(chosen)) for name in self._names}
        npz.save(path, arrays, meta, files)

    def _part(self, name: str, models: Int[np.ndarray, "models"]) -> Path:
        """Writes the answers of some models to a file of their own, model by model; returns it."""
        whole, path = self._map(name, "r"), self._folder / f"{name}.part.npy"
        shape = (*whole.shape[:-2], len(models), whole.shape[-1])
        part = np.lib.format.open_memmap(path, "w+", whole.dtype, shape)
        for i, model in enumerate(models):
            part[..., i, :] = whole[..., model, :]
        part.flush()
        return path

    def delete(self) -> None:
        """Deletes the folder, once the bank's file is there."""
        shutil.rmtree(self._folder, ignore_errors=True)
