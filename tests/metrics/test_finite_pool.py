"""Banks on one pool: the correction against models that are drawn afresh, in closed form."""

import numpy as np
import pytest
import scipy.stats

from jleaks.errors import InputError
from jleaks.metrics.finite_pool import Spread, fresh_auc, spread

# A record's own effect on its score, the pool's and the keys' standard deviations.
EFFECT, DATA, KEYS = 1.5, 1.0, 0.5
POOL = 200


def bank(rng, models, share, records=40):
    """Scores of a bank whose answers are sums over the training part, exactly; and of second models."""
    n = int(share * POOL)
    order = rng.permuted(np.tile(np.arange(POOL), (models, 1)), axis=1)
    member = order < n
    effects = rng.normal(size=(POOL, records)) * DATA / np.sqrt(n)
    effects[np.arange(records), np.arange(records)] = EFFECT
    sums = member @ effects
    scores, again = (sums + KEYS * rng.normal(size=sums.shape) for _ in range(2))
    return scores, member[:, :records], again


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_the_spread_is_that_of_keys_and_of_a_finite_population(share):
    rng = np.random.default_rng(1)
    scores, member, again = bank(rng, 4_000, share)
    found = spread(scores, member, again)
    # Cochran's factor; one record of the pool is fixed on either side.
    data = DATA**2 * (1 - share)
    assert found.training.mean() == pytest.approx(KEYS**2, rel=0.02)
    assert found.total.mean() == pytest.approx(data + KEYS**2, rel=0.05)


def test_the_corrected_area_is_that_of_fresh_records():
    rng = np.random.default_rng(2)
    scores, member, again = bank(rng, 4_000, 0.5)
    auc = np.array(
        [
            scipy.stats.mannwhitneyu(scores[m, i], scores[~m, i]).statistic / (m.sum() * (~m).sum())
            for i, m in enumerate(member.T)
        ]
    )
    normal = scipy.stats.norm.cdf
    pooled = normal(EFFECT / np.sqrt(2 * (DATA**2 / 2 + KEYS**2)))
    truth = normal(EFFECT / np.sqrt(2 * (DATA**2 + KEYS**2)))
    assert auc.mean() == pytest.approx(pooled, abs=0.01)
    corrected = fresh_auc(auc, spread(scores, member, again), 0.5)
    assert corrected.mean() == pytest.approx(truth, abs=0.01)
    assert pooled - truth > 0.05


def test_what_keys_alone_make_needs_no_correction_and_nothing_stays_nothing():
    auc = np.array([0.5, 0.8, 1.0, 0.3])
    alone = Spread(np.ones(4), np.ones(4))
    assert fresh_auc(auc, alone, 0.5) == pytest.approx(auc)
    data = fresh_auc(auc, Spread(np.ones(4), np.zeros(4)), 0.5)
    assert data[0] == pytest.approx(0.5)
    assert data[2] == 1.0
    assert 0.5 < data[1] < 0.8
    assert 0.3 < data[3] < 0.5
    # Nothing spreads: nothing to correct by.
    assert fresh_auc(auc, Spread(np.zeros(4), np.zeros(4)), 0.5) == pytest.approx(auc)


@pytest.mark.parametrize(
    ("models", "second"),
    [(3, 1), (8, 0), (8, 9)],
    ids=["few", "none", "more"],
)
def test_what_cannot_be_measured_is_refused(models, second):
    member = np.arange(models)[:, None] % 2 == 0
    scores = np.zeros((models, 1))
    with pytest.raises(InputError, match=r"models on a side of a record and \d+ trained again"):
        spread(scores, member, np.zeros((second, 1)))
    with pytest.raises(InputError, match="share is 1, expected a number in"):
        fresh_auc(np.zeros(1), Spread(np.ones(1), np.ones(1)), 1)
