"""Who is a member."""

import numpy as np
import pytest

from jleaks.data.splits import quarters
from jleaks.errors import InputError


def parts(q):
    return [q.target_train, q.target_out, q.shadow_train, q.shadow_out]


def test_quarters_are_disjoint_and_of_equal_size():
    found = parts(quarters("adult", 0, 1003, 250))
    assert [len(p) for p in found] == [250] * 4
    assert len(np.unique(np.concatenate(found))) == 1000


def test_a_draw_is_identified_by_task_and_seed():
    def draw(task, seed):
        return np.concatenate(parts(quarters(task, seed, 400, 100)))

    np.testing.assert_array_equal(draw("adult", 1), draw("adult", 1))
    assert (draw("adult", 1) != draw("adult", 2)).mean() > 0.9
    assert (draw("adult", 1) != draw("news", 1)).mean() > 0.9


def test_seeds_draw_every_record_equally_often():
    member = np.zeros(400)
    for seed in range(200):
        member[quarters("adult", seed, 400, 100).target_train] += 1
    # Binomial(200, 1/4): five standard deviations either way.
    assert abs(member - 50).max() < 5.5 * np.sqrt(200 * 0.25 * 0.75)


def test_too_few_records():
    with pytest.raises(
        InputError, match="four parts of 100 records were asked for, the data has 399"
    ):
        quarters("adult", 0, 399, 100)
