"""What remains: of a fleet at the rate of training alone, of a run by the FLOPs of its fleets."""

import time

import pytest
from fleets import fleet_spec

from jleaks.training.execution import Execution
from jleaks.training.fleet import Fleet
from jleaks.training.preemption import StopSignal
from jleaks.training.progress import Progress
from jleaks.training.reporter import remaining
from jleaks.training.trainer import Trainer


def test_what_remains_of_a_run_is_what_a_steady_rate_would_need():
    # Ten, then twenty, then forty FLOPs at four a second; a quarter of the second fleet is behind.
    work = {"a": 10.0, "b": 20.0, "c": 40.0}
    progress = Progress("b", 5, 20, 0.1, 99.0, eta=15 / 4)
    assert remaining(progress, work) == pytest.approx(15 / 4 + 40 / 4)
    assert remaining(Progress("c", 39, 40, 0.1, 1.0, eta=0.25), work) == pytest.approx(0.25)


@pytest.mark.parametrize(("fleet", "done"), [("attack models", 5), ("b", 20), ("unmeasured", 1)])
def test_what_cannot_be_told_is_not(fleet, done):
    progress = Progress(fleet, done, 20, 0.1, 1.0, eta=1.0)
    assert remaining(progress, {"b": 3.0, "unmeasured": 0.0}) is None


def test_the_time_to_go_leaves_compilation_out(monkeypatch):
    """Preparing a pack takes a second here, an epoch a twentieth."""
    prepare = Fleet.prepare

    def slow_prepare(self, *args):
        time.sleep(1.0)
        return prepare(self, *args)

    monkeypatch.setattr(Fleet, "prepare", slow_prepare)
    spec = fleet_spec(num_models=4, epochs=6)
    found = []
    trainer = Trainer(spec, Execution(num_devices=1), found.append, StopSignal())
    load = trainer.fleet.load

    def slow_load(*args):
        pack = load(*args)
        fit = pack.fit

        def slow_fit(*bounds):
            time.sleep(0.05 * (bounds[2] - bounds[1]))
            fit(*bounds)

        monkeypatch.setattr(pack, "fit", slow_fit)
        return pack

    monkeypatch.setattr(trainer.fleet, "load", slow_load)
    trainer.run()
    first = found[0]
    assert first.seconds > 1.0
    left = (first.total - first.done) / spec.num_models
    # Machines of tests are busy; with compilation in it, it would be more than a second an epoch.
    assert 0.05 * left <= first.eta < 0.5 * left
    assert found[-1].eta == 0
