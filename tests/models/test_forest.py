"""Random forests against scikit-learn on inputs encoded by hand; of a dataset only members matter."""

import sys
import warnings

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfTransformer

from jleaks.data.synthetic import synthetic
from jleaks.data.tasks import ADULT_CATEGORIES
from jleaks.errors import InputError
from jleaks.models.forest import _BLOCK, Forest, ForestRecipe, grow

RECIPE = ForestRecipe(num_trees=12)
KEY_DATA = np.array([7, 2**32 - 1], np.uint32)


def data_of(task, count=500):
    data = synthetic(task, count)
    return data.task.encoding, data.features, data.labels, data.task.num_classes


def trained(
    encoding, features, labels, num_classes, members=None, recipe=RECIPE, key_data=KEY_DATA
):
    if members is None:
        members = np.random.default_rng(1).permutation(len(features))[:200].astype(np.int32)
    return Forest.fit(recipe, encoding, features, labels, members, num_classes, key_data)


def reference(inputs, labels, recipe=RECIPE, key_data=KEY_DATA):
    state = int(np.random.SeedSequence([int(w) for w in key_data]).generate_state(1)[0])
    return RandomForestClassifier(recipe.num_trees, random_state=state).fit(inputs, labels)


def by_hand(encoding, own, records):
    """The encodings in NumPy and scikit-learn, dense."""
    if encoding == "binary":
        return records.astype(np.float32)
    if encoding == "terms":
        return TfidfTransformer().fit(own).transform(records).toarray()
    if encoding == "pixels":
        own, records = own.reshape(len(own), -1), records.reshape(len(records), -1)
        return (records - own.mean(0)) / np.maximum(own.std(0), 1)
    own, numbers = own[:, :6].astype(np.float64), records[:, :6].astype(np.float64)
    std = np.where(own.std(0) > 0, own.std(0), 1)
    one_hot = [np.eye(n)[records[:, 6 + i]] for i, n in enumerate(ADULT_CATEGORIES.values())]
    return np.concatenate([(numbers - own.mean(0)) / std, *one_hot], axis=1)


@pytest.mark.parametrize("task", ["location", "news", "mnist", "adult"])
def test_equals_scikit_learn_on_inputs_encoded_by_hand(task):
    encoding, features, labels, num_classes = data_of(task)
    members = np.random.default_rng(1).permutation(500)[:200]
    own = features[members]
    expected = reference(by_hand(encoding, own, own), labels[members])
    forest = trained(encoding, features, labels, num_classes, members)
    # Encodings keep the order of a feature's values, so rounding in the statistics moves no split.
    for ours, theirs in zip(forest.trees.classifier.estimators_, expected.estimators_, strict=True):
        np.testing.assert_array_equal(ours.tree_.feature, theirs.tree_.feature)
        np.testing.assert_array_equal(ours.tree_.n_node_samples, theirs.tree_.n_node_samples)
    found = forest.posteriors(own)
    want = np.zeros((200, num_classes))
    want[:, expected.classes_] = expected.predict_proba(by_hand(encoding, own, own))
    # A record that a tree did not see may lie on a threshold, halfway between two grey levels.
    assert (abs(found - want).max(1) < 1e-6).mean() > 0.95


def test_binary_answers_to_others_equal_scikit_learn():
    encoding, features, labels, num_classes = data_of("location")
    members = np.arange(0, 500, 2)
    expected = reference(features[members].astype(np.float32), labels[members])
    found = trained(encoding, features, labels, num_classes, members).posteriors(features[1::2])
    want = np.zeros((250, num_classes))
    want[:, expected.classes_] = expected.predict_proba(features[1::2].astype(np.float32))
    np.testing.assert_allclose(found, want, atol=1e-6)


@pytest.mark.parametrize("task", ["location", "adult"])
def test_fully_grown_trees_remember_members(task):
    encoding, features, labels, num_classes = data_of(task, 400)
    members = np.arange(200)
    recipe = ForestRecipe()
    forest = trained(encoding, features, labels, num_classes, members, recipe)
    predicted = forest.posteriors(features).argmax(1)
    right = predicted == labels
    assert right[:200].mean() > 0.99
    assert right[200:].mean() < 0.99


def test_absent_classes_have_posterior_zero():
    encoding, features, labels, num_classes = data_of("location")
    members = np.flatnonzero(~np.isin(labels, [0, 7, num_classes - 1]))
    found = trained(encoding, features, labels, num_classes, members).posteriors(features)
    assert found.shape == (500, num_classes)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(found[:, [0, 7, num_classes - 1]], 0)
    assert (found[members].argmax(1) == labels[members]).mean() > 0.9


@pytest.mark.parametrize("min_leaf", [1, 7])
def test_the_key_data_decide(min_leaf):
    encoding, features, labels, num_classes = data_of("location")
    recipe = ForestRecipe(num_trees=12, min_leaf=min_leaf)

    def answers(key_data):
        key_data = np.array(key_data, np.uint32)
        forest = trained(encoding, features, labels, num_classes, recipe=recipe, key_data=key_data)
        return forest.posteriors(features)

    np.testing.assert_array_equal(answers([3, 4]), answers([3, 4]))
    # Each of the two words of key data counts.
    assert (answers([3, 4]) != answers([3, 5])).any()
    assert (answers([3, 4]) != answers([4, 4])).any()


@pytest.mark.parametrize("task", ["mnist", "news", "adult"])
def test_statistics_come_from_members_alone(task):
    encoding, features, labels, num_classes = data_of(task)
    members, others = np.arange(200), np.arange(200, 500)
    records = features.copy()
    before = trained(encoding, features, labels, num_classes, members).posteriors(records)
    features[others] = features[others][::-1] // 2
    labels = labels.copy()
    labels[others] = 0
    after = trained(encoding, features, labels, num_classes, members).posteriors(records)
    np.testing.assert_array_equal(after, before)
    features[0] = features[1]
    changed = trained(encoding, features, labels, num_classes, members).posteriors(records)
    assert (changed != before).any()


def test_an_answer_does_not_depend_on_its_company(rng):
    """Longer than a block, in another order, and alone."""
    features = rng.poisson(0.2, (_BLOCK + 300, 40)).astype(np.uint8)
    labels = rng.integers(0, 3, len(features)).astype(np.int32)
    forest = trained("terms", features, labels, 3, np.arange(_BLOCK + 20))
    whole = forest.posteriors(features)
    order = rng.permutation(len(features))
    np.testing.assert_array_equal(forest.posteriors(features[order]), whole[order])
    np.testing.assert_array_equal(forest.posteriors(features[-1:]), whole[-1:])
    assert forest.posteriors(features[:0]).shape == (0, 3)


@pytest.mark.parametrize("num_trees", [1, 30])
def test_out_of_bag_answers_equal_scikit_learn(rng, num_trees):
    inputs = rng.normal(size=(200, 5)).astype(np.float32)
    labels = 2 * (inputs[:, 0] > rng.normal(size=200)).astype(np.int32)  # classes 0 and 2 of four
    state = int(np.random.SeedSequence(KEY_DATA.tolist()).generate_state(1)[0])
    reference = RandomForestClassifier(num_trees, random_state=state, oob_score=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a lone tree leaves records without answer
        expected = reference.fit(inputs, labels).oob_decision_function_
    trees = grow(ForestRecipe(num_trees), inputs, labels, 4, KEY_DATA)
    found = trees.out_of_bag(inputs)
    answered = expected.sum(1) > 0
    np.testing.assert_allclose(found[answered][:, [0, 2]], expected[answered], atol=1e-6)
    np.testing.assert_array_equal(found[answered][:, [1, 3]], 0)
    np.testing.assert_array_equal(found[~answered], 0.25)
    assert answered.all() == (num_trees == 30)
    # Not the memory of the training labels that all trees together have.
    own, left_out = ((p.argmax(1) == labels).mean() for p in (trees.posteriors(inputs), found))
    assert own > left_out + 0.1


def test_recipes_reach_the_trees():
    encoding, features, labels, num_classes = data_of("location")

    def trees(**options):
        recipe = ForestRecipe(num_trees=5, **options)
        forest = trained(encoding, features, labels, num_classes, recipe=recipe)
        return forest.trees.classifier.estimators_

    assert len(trees()) == 5
    assert max(tree.get_depth() for tree in trees(max_depth=3)) == 3
    for tree in trees(min_leaf=10):
        leaves = tree.tree_.children_left == -1
        assert tree.tree_.weighted_n_node_samples[leaves].min() >= 10
    assert trees()[0].max_features_ == int(np.sqrt(features.shape[1]))
    assert trees(max_features="log2")[0].max_features_ == int(np.log2(features.shape[1]))


def test_every_problem_of_a_recipe_is_named():
    assert ForestRecipe().problems("target") == []
    recipe = ForestRecipe(0, 0, 0)
    object.__setattr__(recipe, "max_features", "half")  # past the annotation, as JSON would come
    problems = recipe.problems("target")
    assert [problem.split(" is ")[0] for problem in problems] == [
        "target num_trees",
        "target max_depth",
        "target min_leaf",
        "target max_features",
    ]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "trained on 0 records"),
        ([0, 500], r"members are 0..500, expected positions in 0..499"),
        ([-1, 2], r"members are -1..2"),
        ([4, 0, 0, 0], "of 4 members only 2 are distinct"),
    ],
)
def test_members_that_cannot_be_used(members, message):
    encoding, features, labels, num_classes = data_of("location")
    with pytest.raises(InputError, match=message):
        trained(encoding, features, labels, num_classes, np.array(members, np.int32))


def test_other_input_that_cannot_be_used():
    encoding, features, labels, num_classes = data_of("location")
    with pytest.raises(InputError, match=r"labels are 0..29, expected 0..9"):
        trained(encoding, features, labels, 10)
    with pytest.raises(InputError, match="forest num_trees is 0"):
        trained(encoding, features, labels, num_classes, recipe=ForestRecipe(num_trees=0))
    with pytest.raises(InputError, match=r"record has shape \(5,\), the forest learned from \(446"):
        trained(encoding, features, labels, num_classes).posteriors(features[:, :5])
    with pytest.raises(InputError, match="grown on 0 records"):
        grow(RECIPE, np.zeros((0, 2), np.float32), np.zeros(0, np.int32), 2, KEY_DATA)


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(InputError, match=r"need scikit-learn .*jleaks\[datasets\]"):
        trained(*data_of("location"))
