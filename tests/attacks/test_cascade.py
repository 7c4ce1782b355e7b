"""Anchors of a cascade, against loops that follow the authors' code, and on scores that tell nothing."""

import numpy as np
import pytest

from jleaks.attacks.cascade import Rule, anchors, threshold


def lowest_sure(scores, wrong, allowed):
    """The authors' loop: prefixes of the falling scores, as long as so few of them are wrong."""
    pairs = sorted(zip(-scores, range(len(scores)), wrong, strict=True))
    found = None
    for i in range(max(allowed, 1), len(pairs)):
        if sum(one[2] for one in pairs[:i]) > allowed:
            break
        found = -pairs[i - 1][0]
    return found


@pytest.mark.parametrize("allowed", [0, 1, 5])
def test_the_threshold_is_that_of_the_loop(rng, allowed):
    for size in (8, 60):
        for _ in range(20):
            scores, wrong = rng.normal(size=size), rng.random(size) < 0.3
            assert threshold(scores, wrong, allowed) == lowest_sure(scores, wrong, allowed)


def surely(rng, n=200, gain=4.0):
    member = rng.random((3, n)) < 0.5
    return rng.normal(size=(3, n)) + gain * member, member


def test_anchors_lie_beyond_the_references_thresholds(rng):
    scores, member = surely(rng)
    free = rng.random(200) < 0.8
    rule = Rule(1, 1, most=1.0, both=True)
    inside, others = anchors(scores[0], scores[1:], member[1:], free, rule)
    high = np.mean(
        [lowest_sure(s[free], ~m[free], 1) for s, m in zip(scores[1:], member[1:], strict=True)]
    )
    low = np.mean(
        [-lowest_sure(-s[free], m[free], 1) for s, m in zip(scores[1:], member[1:], strict=True)]
    )
    np.testing.assert_array_equal(others, free & (scores[0] <= low))
    np.testing.assert_array_equal(inside, free & ~others & (scores[0] >= high))
    assert member[0][inside].mean() > 0.9
    assert member[0][others].mean() < 0.1


def test_the_authors_take_members_only_where_there_are_no_others(rng):
    scores, member = surely(rng)
    free = np.ones(200, bool)
    inside, others = anchors(scores[0], scores[1:], member[1:], free, Rule(most=0.1))
    assert (inside.sum(), others.sum()) == (0, 20)
    # The least of all, and no more than the share.
    assert scores[0][others].max() <= np.sort(scores[0])[19]
    inside, others = anchors(scores[0], scores[1:], member[1:], free, Rule(most=0.05))
    assert inside.sum() >= 5
    assert not others.any()


def test_scores_that_tell_nothing_find_hardly_an_anchor(rng):
    right = []
    for _ in range(50):
        scores, member = surely(rng, gain=0.0)
        inside, others = anchors(scores[0], scores[1:], member[1:], np.ones(200, bool))
        assert not others.any()
        right += member[0][inside].tolist()
    # What is taken for sure by chance is right by chance.
    assert len(right) < 50 * 20
    assert not right or abs(np.mean(right) - 0.5) < 4.5 * 0.5 / np.sqrt(len(right))
