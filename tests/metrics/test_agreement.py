"""Agreement of two orders beside SciPy, and what is left of it without a group beside ranking anew."""

import numpy as np
import pytest
from scipy import stats

from jleaks.errors import InputError
from jleaks.metrics import agreement
from jleaks.metrics.intervals import jackknife


def test_orders_agree_as_they_should(rng):
    a = rng.normal(size=200)
    assert agreement.spearman(a, 2 * a + 1) == pytest.approx(1)
    b = rng.normal(size=200)
    assert agreement.spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert np.isnan(agreement.spearman(a, np.ones(200)))
    assert agreement.top_shared(a, a, 0.1) == 1
    assert agreement.top_shared(a, -a, 0.1) == 0
    with pytest.raises(InputError, match="share is 0"):
        agreement.top_shared(a, b, 0)


@pytest.mark.parametrize("ties", [False, True])
def test_what_is_left_without_a_group_is_nearly_what_ranking_anew_gives(rng, ties):
    size, num_groups, shares = 4000, 50, (0.01, 0.05)
    a = rng.normal(size=size)
    b = 0.7 * a + rng.normal(size=size)
    if ties:
        a, b = np.round(a, 1), np.maximum(np.round(b), 0)
    groups = np.arange(size) % num_groups
    whole, parts = agreement.without_groups(
        *map(agreement.Order, (a, b)), shares, groups, num_groups
    )
    exact = [
        [
            stats.spearmanr(a[kept], b[kept]).statistic,
            *(agreement.top_shared(a[kept], b[kept], share) for share in shares),
        ]
        for kept in (groups != group for group in range(num_groups))
    ]
    assert whole[0] == pytest.approx(stats.spearmanr(a, b).statistic)
    np.testing.assert_array_equal(parts[:, 1:], np.array(exact)[:, 1:])
    np.testing.assert_allclose(parts[:, 0], np.array(exact)[:, 0], atol=1e-4)
    mine, theirs = (jackknife(float(whole[0]), row[:, 0]) for row in (parts, np.array(exact)))
    assert mine.high - mine.low == pytest.approx(theirs.high - theirs.low, rel=0.02)


def test_an_order_that_is_constant_has_no_correlation(rng):
    groups = np.arange(30) % 3
    whole, parts = agreement.without_groups(
        *map(agreement.Order, (np.ones(30), rng.normal(size=30))), (0.1,), groups, 3
    )
    assert np.isnan(whole[0])
    assert np.isnan(parts[:, 0]).all()
    assert np.isfinite(parts[:, 1]).all()
