"""The main job's one compiled call against NumPy: whose cut is whose, and who has collapsed."""

import dataclasses

import numpy as np
import pytest

from jleaks import fleet
from jleaks.attacks.shadow import attack_models
from jleaks.evaluate import evaluate, judge, judge_own_rows
from jleaks.fleet import make_mesh
from jleaks.plan import Execution, Recipe
from jleaks.preemption import StopSignal
from jleaks.signals import cross_entropy
from jleaks.stack import TaskSignals, stack
from jleaks.trainer import Trainer

RECIPE = Recipe("mlp", (8,), 4, 10, 1e-2, 1e-6, activation="relu")


def signals(task, num_classes, num_seeds, num_records, seed=0):
    """Answers of models that are surer of their members, the more the later the seed."""
    rng = np.random.default_rng([seed, num_classes])
    shape = num_seeds, 2, 2, num_records
    top = np.zeros((*shape, 3), np.float32)
    sharp = (
        np.array([0.3, 0.8])[None, None, :, None, None]
        + 0.1 * np.arange(num_seeds)[:, None, None, None, None]
    )
    drawn = rng.dirichlet(np.ones(num_classes), shape) ** (1.5 - sharp)
    drawn = -np.sort(-drawn / drawn.sum(-1, keepdims=True), axis=-1)[..., :3]
    top[..., : drawn.shape[-1]] = drawn
    return TaskSignals(
        task=task,
        num_classes=num_classes,
        top=top,
        statistics=rng.normal(size=(*shape, 3)).astype(np.float32),
        phi=rng.normal(size=shape).astype(np.float32),
        correct=rng.random(shape) < 0.5,
        random=rng.normal(size=(num_seeds, 20, 3)).astype(np.float32),
    )


@pytest.fixture(scope="module")
def found():
    """Adversaries 1 and 2 between three tasks of different sizes, one of them binary."""
    parts = [signals("adult", 2, 2, 40), signals("face", 19, 3, 60), signals("news", 20, 2, 50)]
    stacked = stack(parts)
    crew, pairs = attack_models(stacked, RECIPE, (1, 2))
    state = Trainer(crew, Execution(), lambda _: None, StopSignal()).run()
    # One attack model calls everybody a member, another one nobody.
    for model, bias in ((1, 1.0), (4, -1.0)):
        for layer in ("Dense_0", "Dense_1"):
            state.params[layer]["kernel"][model] = 0
        state.params["Dense_1"]["bias"][model] = (-bias, bias)
    before = fleet.TRACES["evaluate"]
    evaluation = evaluate(stacked, pairs, crew.learner, state, 10.0, make_mesh(4))
    return stacked, crew, pairs, state, evaluation, fleet.TRACES["evaluate"] - before


def margins(state, mask, model, rows):
    x = rows.astype(np.float64) * mask
    layers = [
        {name: np.asarray(leaf[model], np.float64) for name, leaf in state.params[layer].items()}
        for layer in ("Dense_0", "Dense_1")
    ]
    h = np.maximum(x @ layers[0]["kernel"] + layers[0]["bias"], 0)
    z = h @ layers[1]["kernel"] + layers[1]["bias"]
    return z[..., 1] - z[..., 0]


def balanced(scores, cut):
    """Of scores [2, n]: of members, of others."""
    return ((scores[0] >= cut).mean() + (scores[1] < cut).mean()) / 2


def test_every_pair_is_judged_at_its_own_shadow_s_cut(found):
    stacked, crew, pairs, state, evaluation, traces = found
    assert traces <= 1
    assert len(pairs.target) > len(crew.names) > 5
    for i, model in enumerate(pairs.model):
        own, theirs = (
            margins(state, crew.masks[model], model, top[:, : stacked.counts[task]])
            for top, task in (
                (stacked.top[pairs.shadow[i], pairs.seed[i], 1], pairs.shadow[i]),
                (stacked.top[pairs.target[i], pairs.seed[i], 0], pairs.target[i]),
            )
        )
        called = own >= 0
        assert evaluation.collapsed[i] == (called.all() or not called.any()), crew.names[model]
        best = max(balanced(own, cut) for cut in np.unique(own))
        at_cut = evaluation.pairs.shadow_cut
        # The cut itself is not told: all that equally good ones decide about the target are possible.
        cuts = [cut for cut in np.unique(own) if balanced(own, cut) >= best - 1e-6]
        options = [balanced(theirs, cut - 1e-6) for cut in cuts]
        near = np.abs(np.array(options) - at_cut.balanced_accuracy[i])
        assert near.min() < 1.5 / stacked.counts[pairs.target[i]], crew.names[model]
    collapsed = set(pairs.model[evaluation.collapsed].tolist())
    assert {1, 4} <= collapsed < set(range(len(crew.names)))


def test_lists_of_scores_are_judged_alike(found):
    stacked, crew, pairs, state, evaluation, _ = found

    def rows(task, seed, role):
        return stacked.top[task, seed, role, :, : stacked.counts[task]]

    first = [int(np.flatnonzero(pairs.model == m)[0]) for m in range(len(crew.names))]
    own = [
        margins(state, crew.masks[m], m, rows(pairs.shadow[i], pairs.seed[i], 1))
        for m, i in enumerate(first)
    ]
    theirs = [
        margins(state, crew.masks[m], m, rows(pairs.target[i], pairs.seed[i], 0))
        for i, m in enumerate(pairs.model)
    ]

    def truths(scores):
        return [np.arange(s.size) < s.size // 2 for s in scores]

    def flat(scores):
        return [s.reshape(-1).astype(np.float32) for s in scores]

    learned = judge_own_rows(flat(own), truths(own), make_mesh(2))
    np.testing.assert_array_equal(learned.collapsed[pairs.model], evaluation.collapsed)
    cuts = [float(cut) for cut in learned.cut[pairs.model]]
    judged = judge(flat(theirs), truths(theirs), [0.0] * len(cuts), make_mesh(2), cuts)
    for name in ("recall", "auc", "accuracy"):
        ours, other = getattr(judged, name), getattr(evaluation.pairs, name)
        np.testing.assert_allclose(ours, other, atol=0.03, err_msg=name)
    np.testing.assert_allclose(
        judged.shadow_cut.balanced_accuracy,
        evaluation.pairs.shadow_cut.balanced_accuracy,
        atol=0.03,
    )
    assert judge(flat(theirs), truths(theirs), [0.0] * len(cuts), make_mesh(2)).shadow_cut is None


def test_losses_follow_from_scaled_confidence(rng):
    logits = rng.normal(0, 4, (2, 2, 2, 30, 5))
    labels = rng.integers(0, 5, (2, 2, 2, 30, 1))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    true = np.take_along_axis(p, labels, -1)[..., 0]
    phi = (np.log(true) - np.log1p(-true)).astype(np.float32)
    np.testing.assert_allclose(cross_entropy(phi), -np.log(true), rtol=1e-4)
    part = dataclasses.replace(signals("face", 19, 2, 30), phi=phi)
    np.testing.assert_allclose(part.loss(), -np.log(true).mean(-1), rtol=1e-4)
    # Neither certainty nor certain error is more than a number.
    np.testing.assert_allclose(cross_entropy(np.float32([200.0, -200.0])), [0.0, 200.0], atol=1e-12)
