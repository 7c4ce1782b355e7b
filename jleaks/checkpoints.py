"""Checkpoints of a whole fleet; the only importer of orbax.

A checkpoint holds every model's state, how many epochs each has behind it, and the fingerprint of what
defines the numbers.  Models of a fleet may be at different epochs: packs are trained one after another.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from jleaks.errors import InputError
from jleaks.learner import State


class Store:
    """The checkpoints of one fleet in one directory; the latest two are kept."""

    def __init__(self, directory: Path, fingerprint: str):
        """Opens (and creates) the directory.

        Args:
          directory: Where the checkpoints are.
          fingerprint: Of everything that defines the fleet's numbers; a checkpoint with another one
            is refused.

        Raises:
          InputError: the directory cannot be created.
        """
        self._directory = Path(directory).absolute()
        self._fingerprint = fingerprint
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
                ),
            )
        except OSError as error:
            raise InputError(
                f"cannot write checkpoints to {directory}: {error.strerror}"
            ) from error

    def restore(self, template: State) -> tuple[State, np.ndarray] | None:
        """Returns the latest state, leaves [M, ...] on the host, and epochs done [M], or None.

        Raises:
          InputError: the checkpoint belongs to another plan or cannot be read.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        try:
            meta = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))
            theirs = meta["meta"]["fingerprint"]
        except Exception as error:
            raise InputError(f"cannot read checkpoint {self._directory}/{step}: {error}") from error
        if theirs != self._fingerprint:
            raise InputError(
                f"checkpoint {self._directory}/{step} belongs to another plan or other data "
                f"(fingerprint {theirs}, this run has {self._fingerprint}); "
                "choose another --workdir"
            )
        try:
            # Untyped on purpose: state tuples come back as nested dicts of arrays and are put
            # back into the template's structure by position, after comparing every shape.
            found = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    leaves=ocp.args.StandardRestore(
                        {
                            str(i): np.zeros(leaf.shape, leaf.dtype)
                            for i, leaf in enumerate(jax.tree.leaves(template))
                        }
                    )
                ),
            )["leaves"]
        except Exception as error:
            detail = str(error).splitlines()[0]
            raise InputError(
                f"cannot read checkpoint {self._directory}/{step}: {detail}"
            ) from error
        leaves, structure = jax.tree.flatten(template)
        restored = [np.array(found[str(i)]) for i in range(len(leaves))]
        for ours, theirs_leaf in zip(leaves, restored, strict=True):
            if ours.shape != theirs_leaf.shape:
                raise InputError(
                    f"checkpoint {self._directory}/{step} has a leaf of shape {theirs_leaf.shape}, "
                    f"this fleet needs {ours.shape}"
                )
        epochs = np.asarray(meta["meta"]["epochs"], np.int32)
        return jax.tree.unflatten(structure, restored), epochs

    def save(self, state: State, epochs: np.ndarray) -> None:
        """Starts saving; returns once the state has been copied.

        Args:
          state: Every leaf [M, ...], on the host.
          epochs: [M] epochs each model has behind it; their sum numbers the checkpoint.
        """
        step = int(epochs.sum())
        if step in self._manager.all_steps():
            return
        leaves: dict[str, Any] = {
            str(i): np.array(leaf) for i, leaf in enumerate(jax.tree.leaves(state))
        }
        meta = {"fingerprint": self._fingerprint, "epochs": epochs.tolist()}
        self._manager.save(
            step,
            args=ocp.args.Composite(
                leaves=ocp.args.StandardSave(leaves), meta=ocp.args.JsonSave(meta)
            ),
        )

    def close(self) -> None:
        """Waits until everything is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()
