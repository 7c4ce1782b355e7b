"""Losses that are kept over the training: those of models that were trained no further."""

import dataclasses

import fleets
import jax
import numpy as np
import pytest

from jleaks.training.execution import Execution
from jleaks.training.preemption import StopSignal
from jleaks.training.trainer import Trainer


def watched(spec, points, count=60):
    """The fleet, whose models are watched on records of their own choosing."""
    records = np.stack([np.roll(np.arange(count), i) for i in range(spec.num_models)])
    return dataclasses.replace(
        spec,
        learner=dataclasses.replace(spec.learner, trace_points=points),
        members=spec.members._replace(watched=records.astype(np.int32)),
    )


def trainer_of(spec):
    return Trainer(spec, Execution(), lambda _: None, StopSignal())


def losses_after(spec, records):
    """Cross-entropies in float64 after each epoch, from the weights: [E, models, records]."""
    trainer = trainer_of(spec)
    pack = trainer.fleet.load(trainer.initial(), spec.members, spec.key_data)
    found = []
    for epoch in range(spec.learner.recipe.epochs):
        pack.fit(trainer.data, epoch, epoch + 1)
        params = jax.tree.map(lambda a: np.asarray(a, np.float64), pack.fetch().params)
        found.append([])
        for i, rows in enumerate(records):
            first, second = ({n: a[i] for n, a in params[f"Dense_{k}"].items()} for k in range(2))
            hidden = np.tanh(spec.features[rows] @ first["kernel"] + first["bias"])
            logits = hidden @ second["kernel"] + second["bias"]
            own = logits[np.arange(len(rows)), spec.labels[rows]]
            found[-1].append(np.logaddexp.reduce(logits, 1) - own)
    return np.array(found)


@pytest.mark.parametrize(("points", "after"), [(2, (3, 5)), (3, (2, 4, 5))])
def test_losses_are_those_after_each_point_of_the_training(points, after):
    spec = fleets.fleet_spec(epochs=5)
    c = watched(spec, points)
    state = fleets.trained(c)
    assert state.trace["loss"].shape == (5, points, 60)
    expected = losses_after(spec, c.members.watched)
    for p, epoch in enumerate(after):
        np.testing.assert_allclose(
            state.trace["loss"][:, p], expected[epoch - 1], rtol=1e-3, atol=1e-3
        )
    fleets.assert_close(state.params, fleets.trained(spec).params)


def test_packs_chunks_and_blocks_change_no_loss():
    c = watched(fleets.fleet_spec(epochs=4, block=20), 2, count=47)
    whole = fleets.trained(c).trace["loss"]
    parts = fleets.trained(
        c, num_devices=1, models_per_call=2, models_per_vmap=1, chunk_seconds=0
    ).trace["loss"]
    np.testing.assert_allclose(parts, whole, rtol=1e-3, atol=1e-3)
    assert (np.abs(np.diff(whole, axis=1)) > 1e-4).mean() > 0.9


def test_points_that_are_to_come_are_zero():
    c = watched(fleets.fleet_spec(epochs=4), 2)
    trainer = trainer_of(c)
    pack = trainer.fleet.load(trainer.initial(), c.members, c.key_data)
    pack.fit(trainer.data, 0, 3)
    trace = pack.fetch().trace["loss"]
    assert (trace[:, 0] > 0).all()
    assert (trace[:, 1] == 0).all()
