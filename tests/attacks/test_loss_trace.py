"""LT-IQR: the range by hand, and a bank that keeps it."""

import numpy as np
import pytest

from jleaks.attacks.evaluate_bank import scores
from jleaks.attacks.loss_trace import interquartile_range
from jleaks.attacks.references import assign
from jleaks.attacks.registry import ATTACKS
from jleaks.attacks.requirements import missing
from jleaks.errors import InputError
from jleaks.experiments.bank import train_bank
from jleaks.experiments.bank_plan import BankPlan
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe


def quantile(values, level):
    """Linear between the order statistics."""
    ordered = sorted(values)
    at = level * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


@pytest.mark.parametrize("points", [2, 5, 8])
def test_the_range_is_that_of_each_record_s_own_losses(rng, points):
    losses = rng.exponential(1, (3, points, 7))
    found = interquartile_range(losses)
    assert found.dtype == np.float32
    for m in range(3):
        for x in range(7):
            mine = losses[m, :, x].tolist()
            expected = quantile(mine, 0.75) - quantile(mine, 0.25)
            assert found[m, x] == pytest.approx(expected, rel=1e-6)


def plan(**changes) -> BankPlan:
    recipe = Recipe(hidden=(16,), epochs=6, batch_size=20, learning_rate=3e-3)
    fields = {"num_models": 4, "num_candidates": 120, "num_population": 20, "num_queries": 1}
    return BankPlan(task="location", recipe=recipe, **{**fields, "loss_trace": 3, **changes})


def test_a_bank_keeps_it_for_every_record_and_answers_as_without(tmp_path):
    bank = train_bank(plan(), Execution(), str(tmp_path / "with"))
    assert bank.loss_iqr.shape == (4, 140)
    assert (bank.loss_iqr > 0).mean() > 0.9
    found = scores(bank, [ATTACKS["lt_iqr"]], *assign(bank))["lt_iqr"]
    np.testing.assert_array_equal(found, bank.loss_iqr)
    without = train_bank(plan(loss_trace=0), Execution(), str(tmp_path / "without"))
    np.testing.assert_allclose(without.phi, bank.phi, rtol=0.01, atol=0.01)
    assert missing(ATTACKS["lt_iqr"], without) == "the bank has no loss_iqr"
    # Models that were never trained have not moved.
    null = train_bank(plan(null="untrained"), Execution(), str(tmp_path / "null"))
    assert (null.loss_iqr == 0).all()


@pytest.mark.parametrize("points", [1, 7])
def test_points_beyond_the_epochs_are_bad_input(points):
    with pytest.raises(InputError, match=rf"loss_trace is {points}, expected 0 or from 2"):
        plan(loss_trace=points).validate()
