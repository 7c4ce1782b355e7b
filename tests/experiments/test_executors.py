"""Running the cells of a grid: each once, by whoever comes first, whatever becomes of the others."""

import signal
import subprocess
import sys

import pytest
from held_locks import holder

from jleaks import locks
from jleaks.errors import STOPPED, InputError
from jleaks.experiments import cells
from jleaks.experiments.executors import executor, local
from jleaks.training.preemption import Preempted, StopSignal


def grid(root, count=3):
    values = ",".join(map(str, range(1, count + 1)))
    return cells.parse(f"epochs={values}", ["sweep", "--tasks=location"]).cells(root)


def finishes(cell, _):
    """A run that ends at once."""
    (cell.folder / "rows.jsonl").write_text("{}\n")
    return 0


def run(found, runner, said=None):
    say = (lambda _: None) if said is None else said.append
    return local.one_by_one(found, say, StopSignal(), runner)


def test_each_is_run_once_and_finished_ones_are_passed_over(tmp_path):
    found, began, said = grid(tmp_path), [], []
    found[1].folder.mkdir(parents=True)
    finishes(found[1], None)

    def runner(cell, stop):
        began.append(cell.name)
        return finishes(cell, stop)

    assert run(found, runner, said) == []
    assert began == ["epochs=1", "epochs=3"]
    assert said[1] == "epochs=2: finished before"
    assert run(found, runner) == []
    assert len(began) == 2


@pytest.mark.parametrize("status", [STOPPED, 0, -signal.SIGTERM], ids=["75", "0", "signal"])
def test_a_stopped_cell_stops_its_worker(tmp_path, status):
    with pytest.raises(Preempted, match="epochs=1 was stopped"):
        run(grid(tmp_path), lambda *_: status)


@pytest.mark.parametrize("status", [1, 2, -signal.SIGKILL], ids=["1", "2", "killed"])
def test_a_failed_cell_is_returned_and_the_others_run(tmp_path, status):
    found, said = grid(tmp_path), []

    def runner(cell, stop):
        return status if cell == found[0] else finishes(cell, stop)

    assert run(found, runner, said) == found[:1]
    assert f"epochs=1: failed, status {status}" in said
    assert all(cell.has_finished for cell in found[1:])


@pytest.mark.parametrize("lock", [executor.CLAIM, locks.FILE], ids=["claimed", "run"])
def test_what_others_run_is_waited_for_and_then_run_if_it_was_not_finished(
    tmp_path, lock, monkeypatch
):
    monkeypatch.setattr(local, "AGAIN", 0.2)
    found, said = grid(tmp_path), []
    with holder(found[0].folder / lock, seconds=1) as process:
        assert run(found, finishes, said) == []
        assert process.wait(10) == 0
    begun = [line.partition(":")[0] for line in said if "jleaks sweep" in line]
    assert sorted(begun) == ["epochs=1", "epochs=2", "epochs=3"]
    assert begun[-1] == "epochs=1"
    assert any(line.startswith("epochs=1: ") and line.endswith(" runs it") for line in said)


def test_a_signal_while_others_are_waited_for_stops(tmp_path):
    found, stop = grid(tmp_path, 1), StopSignal()
    with (
        holder(found[0].folder / ".lock"),
        pytest.raises(Preempted, match="stopped while waiting for cells that others run"),
    ):
        local.one_by_one(found, lambda _: setattr(stop, "received", signal.SIGTERM), stop, finishes)


def test_who_stops_waiting_for_a_process_ends_it(tmp_path):
    began = []

    class Ends(StopSignal):
        @property
        def received(self):
            if began:
                raise KeyboardInterrupt
            return None

        @received.setter
        def received(self, value):
            pass

    popen = subprocess.Popen

    def sleeps(words, **more):
        assert words[:3] == [sys.executable, "-m", "jleaks"]
        began.append(popen(["sleep", "60"], **more))
        return began[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor.subprocess, "Popen", sleeps)
        with pytest.raises(KeyboardInterrupt):
            executor.run_process(grid(tmp_path, 1)[0], Ends())
    assert began[0].returncode == -signal.SIGTERM


def test_executors_are_found_by_name():
    assert executor.make_executor("local", {}) is local.one_by_one
    with pytest.raises(InputError, match=r"^unknown executor 'dask'; allowed: local, ray$"):
        executor.make_executor("dask", {})
    with pytest.raises(InputError, match=r"^--resources names GPU, but cells that run here take"):
        executor.make_executor("local", {"GPU": 1})


def test_what_an_executor_needs_is_named(monkeypatch):
    monkeypatch.setattr(executor.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"^--executor=ray needs ray, which is not installed: pip"):
        executor.make_executor("ray", {})
