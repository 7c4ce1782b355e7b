"""Which share of a data set was used: the estimate by hand, and an interval that covers it."""

import numpy as np
import pytest

from jleaks.errors import InputError
from jleaks.metrics.usage import usage


def naive(target, references, member):
    """The threshold with the largest TPR - FPR, tried one by one; the share by the formula."""
    best, level = -1.0, np.nan
    for value in np.unique(references)[::-1]:
        gain = (references[member] >= value).mean() - (references[~member] >= value).mean()
        if gain > best + 1e-12:
            best, level = gain, value
    tprs = [(row[own] >= level).mean() for row, own in zip(references, member, strict=True)]
    fprs = [(row[~own] >= level).mean() for row, own in zip(references, member, strict=True)]
    tpr, fpr = np.mean(tprs), np.mean(fprs)
    return ((target >= level).mean() - fpr) / (tpr - fpr), level, tpr, fpr


def drawn(rng, models, records, gain, spread=0.3, share=None):
    """Scores of models that differ in how much they remember; the last is the target."""
    inside = rng.random((models + 1, records)) < 0.5
    if share is not None:
        inside[-1] = rng.permutation(records) < round(share * records)
    remembers = gain * (1 + spread * rng.normal(size=(models + 1, 1)))
    scores = rng.normal(0, 1, records) + rng.normal(0, 1, inside.shape) + remembers * inside
    return scores[-1], scores[:-1], inside[:-1]


@pytest.mark.parametrize("decimals", [None, 0])
def test_the_estimate_is_the_formula(rng, decimals):
    for share in (0.0, 0.3, 1.0):
        target, references, member = drawn(rng, 6, 80, 2.0, share=share)
        if decimals is not None:
            target, references = target.round(decimals), references.round(decimals)
        found = usage(target, references, member)
        expected = naive(target, references, member)
        assert (found.share, found.threshold, found.tpr, found.fpr) == pytest.approx(expected)


def test_rates_that_are_certain_give_the_share_itself():
    member = np.tile(np.arange(40) % 2 == 0, (4, 1))
    scores = member.astype(float)
    target = (np.arange(40) < 10).astype(float)
    assert usage(target, scores, member)[:3] == pytest.approx((0.25, 0.25, 0.25))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_interval_covers_whatever_the_share(rng, share):
    hits = 0
    for _ in range(300):
        found = usage(*drawn(rng, 12, 200, 2.0, share=share))
        hits += found.low <= share <= found.high
    # 95%: fewer than 270 of 300 come once in ten thousand times.
    assert hits >= 270
    assert hits < 300 or share in (0.0, 1.0)


def test_more_references_and_records_narrow_the_interval(rng):
    few = np.mean([np.diff(usage(*drawn(rng, 5, 50, 2.0, 0.02))[1:3]) for _ in range(40)])
    many = np.mean([np.diff(usage(*drawn(rng, 30, 800, 2.0, 0.02))[1:3]) for _ in range(40)])
    assert many < few / 2


def test_who_remembers_nothing_tells_nothing(rng):
    found = [usage(*drawn(rng, 10, 200, 0.0, share=0.2)) for _ in range(60)]
    widths = np.array([one.high - one.low for one in found])
    assert np.mean(widths > 0.8) > 0.8
    assert np.mean([one.low <= 0.2 <= one.high for one in found]) > 0.9


@pytest.mark.parametrize("bad", ["two", "none inside", "none outside"])
def test_too_few_references_or_records_are_bad_input(rng, bad):
    target, references, member = drawn(rng, 4, 20, 1.0)
    if bad == "two":
        references, member = references[:2], member[:2]
    else:
        member[1] = bad == "none outside"
    with pytest.raises(InputError, match="share of 20 records that was used"):
        usage(target, references, member)
