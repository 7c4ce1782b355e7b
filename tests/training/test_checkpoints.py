"""Checkpoints: what is read back is what was saved, or it is said in one line."""

import json
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from conftest import ROOT, python_path
from fleets import StopAfter, fleet_spec, trained_in_steps

from jleaks.errors import InputError
from jleaks.training.checkpoints import Store
from jleaks.training.learner import State
from jleaks.training.preemption import Preempted

OLD, NEW = np.array([2, 1, 0], np.int32), np.array([3, 2, 1], np.int32)


def state(seed):
    rng = np.random.default_rng(seed)
    return State(
        params={"Dense_0": {"kernel": rng.normal(size=(3, 40, 7)).astype(np.float32)}},
        opt_state=(rng.integers(0, 9, 3).astype(np.int32),),
        statistics={},
        losses=rng.random((3, 4)).astype(np.float32),
        bad_step=np.full(3, -1, np.int32),
        averages={},
        trace={},
        adversary={},
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A directory with checkpoints 3 and 6."""
    folder = tmp_path_factory.mktemp("saved")
    store = Store(folder, "plan")
    store.save(state(0), OLD)
    store.save(state(1), NEW)
    store.close()
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "copy")
    return tmp_path / "copy"


def restored(folder):
    """Returns which of the two was read (or a line that none is), and what was said."""
    told = []
    store = Store(folder, "plan", told.append)
    try:
        found, epochs = store.restore(state(2))
    except InputError as error:
        return str(error), told
    finally:
        store.close()
    which = int(epochs.sum()) // 3 - 1
    np.testing.assert_array_equal(epochs, (OLD, NEW)[which])
    jax.tree.map(np.testing.assert_array_equal, found, state(which))
    return which, told


def files(checkpoint):
    return sorted(path for path in checkpoint.rglob("*") if path.is_file())


def test_the_latest_is_read(saved):
    assert restored(saved) == (1, [])


def test_every_flipped_bit_is_noticed_or_changes_nothing(saved, folder):
    rng = np.random.default_rng(7)
    passed_over = 0
    for path in files(folder / "6"):
        content = path.read_bytes()
        for _ in range(min(6, 8 * len(content))):
            at, bit = int(rng.integers(len(content))), int(rng.integers(8))
            flipped = bytearray(content)
            flipped[at] ^= 1 << bit
            path.write_bytes(flipped)
            which, told = restored(folder)
            assert which in (0, 1), (path, at, bit, which)
            # The one before it is never read without a word, and nothing else is.
            assert len(told) == (which == 0), (path, at, bit, told)
            passed_over += which == 0
        path.write_bytes(content)
    assert passed_over > 10
    assert restored(folder) == (1, [])
    del saved


def test_flips_in_the_data_are_all_noticed(folder):
    """The largest file holds the leaves, compressed: there is no bit that does not matter."""
    rng = np.random.default_rng(3)
    path = max(files(folder / "6"), key=lambda path: path.stat().st_size)
    content = path.read_bytes()
    for _ in range(20):
        flipped = bytearray(content)
        flipped[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        which, told = restored(folder)
        assert which == 0
        assert "copy/6 is damaged" in told[0]
        assert told[0].endswith("continuing from the one before it, 3")


@pytest.mark.parametrize("damage", ["cut", "zeros", "gone", "empty"])
def test_damaged_files_are_passed_over(folder, damage):
    for path in files(folder / "6"):
        content = path.read_bytes()
        if damage == "gone":
            path.unlink()
        else:
            cut = {"cut": content[: len(content) // 2], "zeros": bytes(len(content)), "empty": b""}
            path.write_bytes(cut[damage])
        which, told = restored(folder)
        assert which in (0, 1)
        assert len(told) == (which == 0)
        path.write_bytes(content)


def test_swapped_states_are_noticed(folder):
    (folder / "6" / "models").rename(folder / "other")
    shutil.copytree(folder / "3" / "models", folder / "6" / "models")
    which, told = restored(folder)
    assert which == 0
    assert "its state is not what was saved" in told[0]


@pytest.mark.parametrize(
    ("epochs", "why"),
    [
        ([2, 2, 2], "its description is not what was saved"),
        ([3, 2, 1.0], "description"),
        (["3", "2", "1"], "description"),
    ],
)
def test_changed_epochs_are_noticed(folder, epochs, why):
    path = folder / "6" / "meta" / "metadata"
    path.write_text(json.dumps({**json.loads(path.read_text()), "epochs": epochs}))
    which, told = restored(folder)
    assert which == 0
    assert why in told[0]


def earlier_version(folder, epochs=(3, 2, 1)):
    """Rewrites checkpoint 6 as it was saved before there were checksums."""
    import orbax.checkpoint as ocp

    shutil.rmtree(folder / "6")
    manager = ocp.CheckpointManager(folder)
    manager.save(
        6,
        args=ocp.args.Composite(
            leaves=ocp.args.StandardSave(
                {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(state(1)))}
            ),
            meta=ocp.args.JsonSave({"fingerprint": "plan", "epochs": list(epochs)}),
        ),
    )
    manager.close()


def test_a_checkpoint_of_an_earlier_version_is_read_and_called_unverified(folder):
    earlier_version(folder)
    which, told = restored(folder)
    assert which == 1
    assert len(told) == 1
    assert "copy/6 is of an earlier version, without checksums" in told[0]


@pytest.mark.parametrize("epochs", [(2, 2, 1), (7, -1, 0), (5, 1, 0), (6,), ("3", "2", "1"), 6])
def test_epochs_of_an_earlier_version_must_agree_with_the_step(folder, epochs):
    if isinstance(epochs, int):
        earlier_version(folder)
        path = folder / "6" / "meta" / "metadata"
        path.write_text(json.dumps({"fingerprint": "plan", "epochs": epochs}))
    else:
        earlier_version(folder, epochs)
    which, told = restored(folder)
    assert which == 0
    assert "its epochs are not those of 3 models, 4 at most, 6 together" in told[0]


def test_where_none_is_intact_it_says_what_to_delete(folder):
    for step in ("3", "6"):
        (folder / step / "meta" / "metadata").write_text("{")
    which, told = restored(folder)
    assert told == []
    assert "\n" not in which
    assert "cannot read checkpoint 6 (" in which
    assert "), 3 (" in which
    assert f"of {folder}, and there is no other: delete that directory" in which


def test_an_empty_checkpoint_is_passed_over(folder):
    (folder / "9999").mkdir()
    which, told = restored(folder)
    assert which == 1
    assert "copy/9999 is damaged" in told[0]


def test_a_foreign_checkpoint_is_refused(folder):
    with pytest.raises(InputError, match="belongs to another plan or other data"):
        Store(folder, "other", pytest.fail).restore(state(2))


def test_without_a_listener_it_is_a_warning(folder):
    (folder / "6" / "meta" / "metadata").write_text("{")
    with pytest.warns(UserWarning, match="copy/6 is damaged"):
        Store(folder, "plan").restore(state(2))


def test_training_goes_on_from_the_one_before_and_ends_the_same(tmp_path):
    c = fleet_spec("mlp", 4, epochs=5)
    own = {"num_devices": 1, "models_per_call": 2, "checkpoint_seconds": 0}
    whole = trained_in_steps(c, **own)
    with pytest.raises(Preempted):
        trained_in_steps(c, Store(tmp_path, "plan"), StopAfter(6), **own)
    newest = max((p for p in tmp_path.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    (newest / "meta" / "metadata").write_text("{}")
    told = []
    store = Store(tmp_path, "plan", told.append)
    continued = trained_in_steps(c, store, **own)
    store.close()
    assert [f"{newest} is damaged" in line for line in told] == [True]
    jax.tree.map(np.testing.assert_array_equal, continued, whole)
    # It is out of the way, and there to be looked at.
    assert (tmp_path / f"{newest.name}.damaged").is_dir()
    found, epochs = Store(tmp_path, "plan", pytest.fail).restore(whole)
    assert epochs.tolist() == [5] * 4
    jax.tree.map(np.testing.assert_array_equal, found, whole)


@pytest.mark.parametrize("num_models", [1, 3])
def test_leaves_of_all_types_come_back_to_be_written_to(tmp_path, num_models):
    rng = np.random.default_rng(0)
    whole = state(0)._replace(
        params={"odd": rng.integers(0, 9, (num_models, 3)).astype(np.uint8)},
        opt_state=(rng.random((num_models, 2, 3)), rng.random((num_models, 5)) > 0.5),
        losses=rng.random((num_models, 4)).astype(np.float32),
        bad_step=np.full(num_models, -1, np.int32),
    )
    epochs = np.full(num_models, 2, np.int32)
    store = Store(tmp_path, "plan")
    store.save(whole, epochs)
    store.close()
    found, epochs = Store(tmp_path, "plan", pytest.fail).restore(whole)
    assert epochs.tolist() == [2] * num_models
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(whole), strict=True):
        assert one.dtype == two.dtype
        assert one.flags.writeable
        assert one.flags.aligned
        np.testing.assert_array_equal(one, two)


def test_a_full_disk_is_one_line(folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    store = Store(folder, "plan")
    with pytest.raises(
        InputError, match=r"cannot write checkpoints to .*: no space left for 3.4 kB, 100 B"
    ):
        store.save(state(3), NEW + 1)
    store.close()
    assert restored(folder) == (1, [])


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from test_checkpoints import NEW, state
from jleaks.training.checkpoints import Store
from jleaks.errors import InputError
store = Store(Path(sys.argv[1]), "plan")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    store.save(state(3), NEW + 1)
    store.close()
except InputError as error:
    print(error)
"""


def test_what_fails_in_the_background_is_one_line(folder):
    done = subprocess.run(
        [sys.executable, "-c", FULL, folder],
        cwd=ROOT / "tests",
        env={
            "PATH": "",
            "PYTHONPATH": python_path(__file__),
            "JAX_PLATFORMS": "cpu",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith(f"cannot write checkpoints to {folder}: File too large")
    assert restored(folder) == (1, [])


@pytest.mark.parametrize(("seconds", "saves"), [(0, 23), (1e-9, 2), (1000, 1)])
def test_where_saving_takes_long_there_are_fewer_checkpoints(seconds, saves):
    class Slow(Store):
        calls = 0

        def __init__(self):
            pass

        def restore(self, _):
            return None

        def save(self, *_):
            self.calls += 1
            time.sleep(0.5 if seconds == 1e-9 else 0)

    c, store = fleet_spec("mlp", 2, epochs=11), Slow()
    trained_in_steps(c, store, num_devices=1, checkpoint_seconds=seconds)
    # One after each epoch of each model, which train in turn; and the last.
    assert store.calls == saves
