"""The attack forest: against scikit-learn, on rows that can be told apart and on noise."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from jleaks.attacks import attack_models
from jleaks.attacks.attack_models import forest_scores
from jleaks.errors import InputError
from jleaks.models.forest import ForestRecipe

RECIPE = ForestRecipe(num_trees=40)
KEY_DATA = np.array([1, 9], np.uint32)


def rows(rng, member, advantage):
    """Sorted top-3 posteriors of 10 classes; members' are more confident by `advantage`."""
    logits = rng.normal(size=(len(member), 10))
    logits[:, 0] += 1 + advantage * member
    posteriors = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return -np.sort(-posteriors, axis=1)[:, :3].astype(np.float32)


@pytest.fixture
def member(rng):
    return rng.random(1200) < 0.5


def test_separates_what_can_be_told_apart(rng, member):
    shadow, target = rows(rng, member, 8.0), rows(rng, member, 8.0)
    (scores,) = forest_scores(RECIPE, shadow, member, KEY_DATA, [target]).queries
    assert scores.dtype == np.float32
    assert roc_auc_score(member, scores) > 0.98
    assert ((scores >= 0) == member).mean() > 0.95


def test_noise_tells_nothing(rng, member):
    shadow, target = rows(rng, member, 0.0), rows(rng, member, 0.0)
    found = forest_scores(RECIPE, shadow, member, KEY_DATA, [target, shadow])
    # Mann-Whitney on 1,200 records: five standard deviations are 0.083.
    assert abs(roc_auc_score(member, found.queries[0]) - 0.5) < 0.083
    # Asked about the rows that it learned from it remembers them; its scores of those do not.
    assert roc_auc_score(member, found.queries[1]) > 0.98
    assert abs(roc_auc_score(member, found.own) - 0.5) < 0.083


def test_scores_are_the_posterior_of_member_around_zero(rng, member):
    shadow, queries = rows(rng, member, 2.0), [rows(rng, member[:n], 2.0) for n in (300, 1, 0)]
    state = int(np.random.SeedSequence([1, 9]).generate_state(1)[0])
    reference = RandomForestClassifier(40, random_state=state).fit(shadow, member)
    found = forest_scores(RECIPE, shadow, member, KEY_DATA, queries).queries
    assert [len(scores) for scores in found] == [300, 1, 0]
    for scores, query in zip(found[:2], queries, strict=False):
        np.testing.assert_allclose(scores, reference.predict_proba(query)[:, 1] - 0.5, atol=1e-6)


def test_own_scores_choose_a_threshold_that_holds_for_others(rng, member):
    """The distribution of out-of-bag scores is that of fresh rows of the same shadow."""
    shadow, fresh = rows(rng, member, 3.0), rows(rng, member, 3.0)
    own, (other,) = forest_scores(RECIPE, shadow, member, KEY_DATA, [fresh])
    assert own.dtype == np.float32
    # AUCs of 1,200 records: a standard deviation each of at most 0.017.
    assert abs(roc_auc_score(member, own) - roc_auc_score(member, other)) < 0.07
    for part in (member, ~member):
        assert abs(own[part].mean() - other[part].mean()) < 0.07


def test_the_key_data_decide(rng, member):
    shadow, query = rows(rng, member, 1.0), rows(rng, member, 1.0)

    def scores(*key_data):
        found = forest_scores(RECIPE, shadow, member, np.array(key_data, np.uint32), [query])
        return found.queries[0]

    np.testing.assert_array_equal(scores(2, 3), scores(2, 3))
    assert (scores(2, 3) != scores(2, 4)).any()


def test_input_that_cannot_be_used(rng, member):
    shadow = rows(rng, member, 1.0)
    with pytest.raises(InputError, match="learn from 1200 members and 0 non-members"):
        forest_scores(RECIPE, shadow, np.ones(1200, bool), KEY_DATA, [shadow])
    with pytest.raises(InputError, match="query 1 rows are not all finite"):
        forest_scores(RECIPE, shadow, member, KEY_DATA, [shadow, shadow * np.float32(np.inf)])
    with pytest.raises(InputError, match="forest min_leaf is 0"):
        forest_scores(ForestRecipe(min_leaf=0), shadow, member, KEY_DATA, [shadow])


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([5], [[0]]),
        ([24420, 932, 2504, 20010], [[0, 1, 2, 3]]),
        # Short ones beside one a hundred times as long would each take as long as it.
        ([100, 1, 1, 1, 1, 1], [[1, 2, 3, 4, 5], [0]]),
        ([1, 2, 3, 5, 7, 10, 20, 50, 100], [[0, 1, 2, 3, 4, 5, 6], [7, 8]]),
    ],
)
def test_data_sets_of_very_different_length_are_fleets_of_their_own(sizes, groups):
    found = attack_models._about_equal(sizes)
    assert found == groups
    for group in found:
        longest = max(sizes[i] for i in group)
        assert longest * len(group) <= 4 * sum(sizes[i] for i in group)
