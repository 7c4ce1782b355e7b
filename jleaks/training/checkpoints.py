"""Checkpoints of a whole fleet; the only importer of orbax.

A checkpoint holds every model's state, how many epochs each has behind it, the fingerprint of what
defines the numbers, and a checksum (CRC-32) of every leaf and of this description itself: a state that is
not what was saved is never trained on.  Models of a fleet may be at different epochs: packs are trained
one after another.

Of several processes the first alone writes and reads them, and tells the others what it has read: all have
the whole state on the host, and only one needs to see the directory.
"""

import errno
import json
import logging
import shutil
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jleaks.errors import InputError
from jleaks.training import processes
from jleaks.training.learner import State
from jleaks.training.memory import readable

# Of a description; before there were checksums it had the first two.
_UNVERIFIED = {"fingerprint", "epochs"}
_VERIFIED = _UNVERIFIED | {"checksums", "checksum"}
# Of a checkpoint's only array: the bytes of every model.
_ROWS = "rows"
# Ends the name of a checkpoint that was set aside.
_ASIDE = ".damaged"


def _is_ours_to_tell(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR or "orbax" not in record.pathname


# Orbax logs a failure up to ten times, tracebacks included, beside the exception that it raises.
logging.getLogger("absl").addFilter(_is_ours_to_tell)


class _DamagedError(Exception):
    """A checkpoint that is not what was saved; the message says in what."""


class Store:
    """The checkpoints of one fleet in one directory; the latest two are kept."""

    def __init__(
        self, directory: Path, fingerprint: str, line: Callable[[str], Any] = warnings.warn
    ):
        """Opens (and creates) the directory.

        Args:
          directory: Where the checkpoints are.
          fingerprint: Of everything that defines the fleet's numbers; a checkpoint with another one
            is refused.
          line: Called with one sentence if a checkpoint was passed over, or could not be verified.

        Raises:
          InputError: the directory cannot be created.
        """
        # Not above: whoever trains without checkpoints does without orbax.
        import orbax.checkpoint as ocp
        from orbax.checkpoint import checkpoint_managers as policies

        self._args = ocp.args
        self._directory = Path(directory).absolute()
        self._fingerprint, self._line = fingerprint, line
        self._damaged: list[int] = []
        if not processes.is_first():
            return
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(
                self._directory,
                options=ocp.CheckpointManagerOptions(
                    # Both policies are stated: the defaults save at every call and delete nothing.
                    save_decision_policy=policies.FixedIntervalPolicy(1),
                    preservation_policy=policies.LatestN(2),
                    # What a killed process left half written.
                    cleanup_tmp_directories=True,
                    # Made above; of several processes only this one comes here.
                    create=False,
                    multiprocessing_options=ocp.options.MultiprocessingOptions(
                        active_processes={0} if processes.count() > 1 else None
                    ),
                ),
            )
        except OSError as error:
            raise self._unwritable(error) from error

    def restore(self, template: State) -> tuple[State, np.ndarray] | None:
        """Returns the latest intact state, leaves [M, ...] on the host, and epochs done [M], or None.

        Args:
          template: Shapes and types; its losses [M, E] say how many epochs there are.

        Raises:
          InputError: the checkpoint belongs to another plan, or there are some and none is intact.
        """
        found = self._latest(template) if processes.is_first() else None
        if not processes.first(lambda: found is not None):
            return None
        epochs = np.zeros(len(template.losses), np.int32)
        return processes.first_arrays(lambda: found, (template, epochs))

    def _latest(self, template: State) -> tuple[State, np.ndarray] | None:
        """Reads the latest intact checkpoint, if there is one."""
        damaged: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                found = self._read(step, template)
            except _DamagedError as error:
                damaged[step] = str(error)
                continue
            self._damaged = list(damaged)
            for bad, why in damaged.items():
                self._line(
                    f"checkpoint {self._directory}/{bad} is damaged ({why}): continuing from the one "
                    f"before it, {step}"
                )
            return found
        if damaged:
            what = ", ".join(f"{step} ({why})" for step, why in damaged.items())
            raise InputError(
                f"cannot read checkpoint {what} of {self._directory}, and there is no other: delete "
                "that directory to train from the start"
            )
        return None

    def _read(self, step: int, template: State) -> tuple[State, np.ndarray]:
        """Reads one checkpoint.

        Raises:
          _DamagedError: it is not what was saved.
          InputError: it belongs to another plan.
        """
        meta = self._item(step, meta=self._args.JsonRestore())
        if not isinstance(meta, dict) or set(meta) not in (_VERIFIED, _UNVERIFIED):
            raise _DamagedError("its description is not one")
        verified = set(meta) == _VERIFIED
        if verified and meta.pop("checksum") != _checksum_of(meta):
            raise _DamagedError("its description is not what was saved")
        if meta["fingerprint"] != self._fingerprint:
            raise InputError(
                f"checkpoint {self._directory}/{step} belongs to another plan or other data "
                f"(fingerprint {meta['fingerprint']}, this run has {self._fingerprint}); "
                "choose another --workdir"
            )
        count, most = template.losses.shape
        epochs = meta["epochs"]
        if (
            not isinstance(epochs, list)
            or len(epochs) != count
            or not all(type(one) is int and 0 <= one <= most for one in epochs)
            or sum(epochs) != step
        ):
            raise _DamagedError(
                f"its epochs are not those of {count} models, {most} at most, {step} together"
            )
        leaves, structure = jax.tree.flatten(template)
        read = self._read_rows(step, leaves) if verified else self._read_leaves(step, leaves)
        if verified and [_checksum(leaf) for leaf in read] != meta["checksums"]:
            raise _DamagedError("its state is not what was saved")
        if not verified:
            self._line(
                f"checkpoint {self._directory}/{step} is of an earlier version, without checksums: "
                "continuing from it unverified"
            )
        return jax.tree.unflatten(structure, read), np.array(epochs, np.int32)

    def _read_rows(self, step: int, leaves: list[Any]) -> list[np.ndarray]:
        count = leaves[0].shape[0]
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
        like = {_ROWS: np.empty((count, size // count), np.uint8)}
        rows = self._item(step, models=self._args.StandardRestore(like))[_ROWS]
        if rows.shape != like[_ROWS].shape:
            raise _DamagedError(f"models and bytes are {rows.shape}, not {like[_ROWS].shape}")
        return _unpacked(rows, leaves)

    def _read_leaves(self, step: int, leaves: list[Any]) -> list[np.ndarray]:
        """Reads a state as earlier versions saved it, each leaf by its position."""
        like = {str(i): np.zeros(leaf.shape, leaf.dtype) for i, leaf in enumerate(leaves)}
        found = self._item(step, leaves=self._args.StandardRestore(like))
        for i, leaf in enumerate(leaves):
            if leaf.shape != found[str(i)].shape:
                raise _DamagedError(f"leaf {i} is {found[str(i)].shape}, expected {leaf.shape}")
        return [np.array(found[str(i)]) for i in range(len(leaves))]

    def _item(self, step: int, **item: Any) -> Any:
        """Reads one of a checkpoint's items."""
        try:
            return self._manager.restore(step, args=self._args.Composite(**item))[next(iter(item))]
        except MemoryError:
            raise
        # Orbax, tensorstore and JSON raise all sorts of exceptions on damaged files.
        except Exception as error:
            raise _DamagedError(
                " ".join(str(error).split())[:200] or type(error).__name__
            ) from error

    def save(self, state: State, epochs: np.ndarray) -> None:
        """Starts saving; returns once the state has been copied.

        Args:
          state: Every leaf [M, ...], on the host.
          epochs: [M] epochs each model has behind it; their sum numbers the checkpoint.

        Raises:
          InputError: this checkpoint, or the one before, cannot be written.
        """
        if not processes.is_first():
            return
        step = int(epochs.sum())
        self._set_aside()
        if step in self._manager.all_steps():
            return
        leaves = jax.tree.leaves(state)
        rows = _packed(leaves)
        meta = {
            "fingerprint": self._fingerprint,
            "epochs": epochs.tolist(),
            "checksums": [_checksum(leaf) for leaf in leaves],
        }
        meta["checksum"] = _checksum_of(meta)
        try:
            if rows.nbytes > (free := shutil.disk_usage(self._directory).free):
                needed = readable(rows.nbytes)
                raise OSError(
                    errno.ENOSPC, f"no space left for {needed}, {readable(free)} are free"
                )
            self._manager.save(
                step,
                args=self._args.Composite(
                    models=self._args.StandardSave({_ROWS: rows}), meta=self._args.JsonSave(meta)
                ),
            )
        # Also what went wrong in the background since the last call.
        except Exception as error:
            raise self._unwritable(error) from error

    def _set_aside(self) -> None:
        """Renames damaged checkpoints: orbax saves nothing at or before a step that it has."""
        if not self._damaged:
            return
        for step in self._damaged:
            path = self._directory / str(step)
            aside = path.with_name(f"{step}{_ASIDE}")
            try:
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
            except OSError as error:
                raise self._unwritable(error) from error
        self._damaged = []
        self._manager.reload()

    def close(self) -> None:
        """Waits until everything is on disk.

        Raises:
          InputError: the last checkpoint could not be written.
        """
        if not processes.is_first():
            return
        try:
            self._manager.wait_until_finished()
            self._manager.close()
        except Exception as error:
            raise self._unwritable(error) from error

    def _unwritable(self, why: Exception) -> InputError:
        """Returns the error that says in one line why nothing can be saved here."""
        text = " ".join(str(getattr(why, "strerror", None) or why).split())
        # Tensorstore tells a long story that ends with the system's own words.
        _, _, reason = text.rpartition(": ")
        return InputError(
            f"cannot write checkpoints to {self._directory}: {reason or type(why).__name__} "
            "(those before are kept: the same command continues)"
        )


def _packed(leaves: list[np.ndarray]) -> np.ndarray:
    """Returns the bytes of every model, [M, bytes], from leaves [M, ...].

    Orbax writes and reads arrays at the same time; of several, those that are under way when one fails
    complain later, past every exception handler.
    """
    parts = [_bytes(leaf) for leaf in leaves]
    rows = np.empty((len(parts[0]), sum(part.shape[1] for part in parts)), np.uint8)
    return np.concatenate(parts, axis=1, out=rows)


def _unpacked(rows: np.ndarray, like: list[Any]) -> list[np.ndarray]:
    """Returns the leaves [M, ...] of types and shapes like these from the bytes of every model."""
    widths = [leaf.size // len(rows) * leaf.dtype.itemsize for leaf in like]
    parts = np.split(rows, np.cumsum(widths)[:-1], axis=1)
    return [
        # A copy: training writes into it, and a part of one row may begin anywhere.
        part.copy().view(leaf.dtype).reshape(leaf.shape)
        for part, leaf in zip(parts, like, strict=True)
    ]


def _bytes(leaf: np.ndarray) -> np.ndarray:
    """Returns the bytes of a leaf, [M, bytes]."""
    return np.ascontiguousarray(leaf).reshape(len(leaf), -1).view(np.uint8)


def _checksum(array: np.ndarray) -> int:
    """Returns the CRC-32 of an array's type, shape and bytes."""
    about = zlib.crc32(f"{array.dtype.str}{array.shape}".encode())
    return zlib.crc32(_bytes(array).data, about)


def _checksum_of(meta: dict[str, Any]) -> int:
    """Returns the CRC-32 of a description."""
    return zlib.crc32(json.dumps(meta, sort_keys=True).encode())
