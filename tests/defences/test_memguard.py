"""MemGuard: its search against a float64 loop, its probability, its budget; fleets, bad input."""

import jax
import numpy as np
import pytest

from jleaks.defences import memguard
from jleaks.defences.defence import answering, get_defence
from jleaks.defences.preliminary import Told
from jleaks.errors import InputError
from jleaks.models.forest import ForestRecipe
from tests.defences.test_selena import keys, querier, subjects

K = 6


def softmax(z):
    p = np.exp(z - z.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def told():
    """Members' answers are surer."""
    rng = np.random.default_rng(5)
    trained = np.stack([np.arange(300) % 2 == 0, np.arange(300) % 2 == 1])
    z = rng.normal(0, 1, (2, 300, K))
    z[..., 0] += np.where(trained, 5, 2)
    return Told(
        softmax(z).astype(np.float32),
        trained,
        np.zeros(300, np.int32),
        np.arange(2, dtype=np.uint32),
    )


@pytest.fixture(scope="module")
def network(told):
    return memguard.unpacked(memguard._learn(told), K)


class Naive:
    """The attack network in float64, one answer at a time."""

    def __init__(self, network):
        self.kernels = [np.asarray(a, float) for a in network.kernels]
        self.biases = [np.asarray(a, float) for a in network.biases]

    def __call__(self, p):
        return self.with_gradient(p)[0]

    def with_gradient(self, p):
        xs, x = [p], p
        for kernel, bias in zip(self.kernels[:-1], self.biases[:-1], strict=True):
            x = np.maximum(x @ kernel + bias, 0)
            xs.append(x)
        value = float((x @ self.kernels[-1] + self.biases[-1])[0])
        d = self.kernels[-1][:, 0]
        for kernel, x in zip(self.kernels[-2::-1], xs[:0:-1], strict=True):
            d = kernel @ (d * (x > 0))
        return value, d

    def noise(self, z):
        """Algorithm 1 as the authors state it, line by line."""
        own, label = softmax(z), int(z.argmax())
        before = self(own)
        best, weight = np.zeros_like(z), 0.1
        while weight <= 1e5:
            e, i = np.zeros_like(z), 0

            def unfinished(e):
                return (z + e).argmax() != label or before * self(softmax(z + e)) > 0

            while i <= 300 and unfinished(e):
                p = softmax(z + e)
                value, dh = self.with_gradient(p)
                jacobian = np.diag(p) - np.outer(p, p)
                u = np.sign(value) * jacobian @ dh
                others = np.where(np.arange(len(z)) == label, -np.inf, z + e)
                if others.max() > (z + e)[label]:
                    u[others.argmax()] += 10
                    u[label] -= 10
                u = u + weight * jacobian @ np.sign(p - own)
                e, i = e - 0.1 * u / np.linalg.norm(u), i + 1
            if unfinished(e):
                return best
            best, weight = e, 10 * weight
        return best


def descending(rng, count, sharp):
    z = rng.normal(0, 1, (count, K))
    z[:, 0] += sharp
    return -np.sort(-z, axis=1)


def test_the_attack_network_tells_members(told, network):
    naive = Naive(network)
    ordered = -np.sort(-told.posteriors.astype(float), axis=-1)
    right = [
        (naive(p) > 0) == inside
        for p, inside in zip(ordered.reshape(-1, K), told.trained.ravel(), strict=True)
    ]
    assert np.mean(right) > 0.85
    again = memguard.unpacked(memguard.packed(network), K)
    jax.tree.map(np.testing.assert_array_equal, again, network)
    assert len(memguard.packed(network)) == memguard.num_weights(K)


@pytest.mark.parametrize("sharp", [1.0, 3.0, 5.0])
def test_the_search_is_algorithm_1(network, rng, sharp):
    naive, z = Naive(network), descending(rng, 12, sharp)
    found = np.asarray(jax.vmap(lambda row: memguard.noise(network, row))(z.astype(np.float32)))
    moved, away, near = 0, [], []
    for row, e in zip(z, found, strict=True):
        expected = naive.noise(row)
        own = softmax(row)
        # Steps of a fixed length turn at kinks: float32 may take another turn, to about as near a place.
        mine, theirs = (np.abs(softmax(row + x) - own).sum() for x in (e, expected))
        assert mine == pytest.approx(theirs, rel=0.5, abs=0.05)
        near.append(mine == pytest.approx(theirs, rel=0.1, abs=0.02))
        away.append(abs(mine - theirs))
        assert (e != 0).any() == (expected != 0).any()
        if (e != 0).any():
            moved += 1
            assert (row + e).argmax() == 0
            # The network has changed its mind, and is nearer to undecided.
            assert naive(own) * naive(softmax(row + e)) <= 1e-4
    # Which turn depends on the machine, whose sums the network was trained with.
    assert np.mean(near) > 0.8
    assert moved > 6
    assert np.median(away) < 5e-3


@pytest.mark.parametrize(
    ("before", "after", "distance", "budget", "expected"),
    [
        (2.0, -0.1, 0.5, 0.2, 0.4),
        (2.0, -0.1, 0.5, 1.0, 1.0),
        (0.1, 3.0, 0.5, 1.0, 0.0),
        (2.0, 2.0, 0.0, 1.0, 0.0),
        (-3.0, 0.2, 0.25, 0.0, 0.0),
    ],
)
def test_the_probability_is_the_budget_s_share(before, after, distance, budget, expected):
    found = memguard.share_moved(*map(np.float32, (before, after, distance)), budget)
    assert float(found) == pytest.approx(expected)


def guarded(network, budget):
    given = answering(
        [get_defence(f"memguard:{budget}")], None, lambda: memguard.packed(network)[None]
    )
    fn = jax.jit(given.fn)
    return lambda z: np.asarray(fn(given.strength[0], z.astype(np.float32)))


def test_answers_keep_label_and_budget_and_are_the_same_again(network, rng):
    z = rng.normal(0, 1, (800, K))
    z[np.arange(800), rng.integers(0, K, 800)] += rng.choice([2, 5], 800)
    own = softmax(z)
    spent = []
    for budget in (0, 0.1, 0.3, 2):
        answer = guarded(network, budget)
        found = answer(z)
        np.testing.assert_array_equal(found, answer(z))
        # In another batch, too, but for the last bits and where they turn a step.
        assert np.abs(found[:50] - answer(z[:50])).max() < 0.1
        assert (found.argmax(1) == z.argmax(1)).all()
        distances = np.abs(softmax(found) - own).sum(1)
        # Expected at most: its mean over as many questions, with four standard errors.
        assert distances.mean() <= budget + 1e-6 + 4 * distances.std() / np.sqrt(len(distances))
        spent.append(distances.mean())
    np.testing.assert_array_equal(guarded(network, 0)(z), z.astype(np.float32))
    assert spent == sorted(spent)
    # What was moved is undecided to the network, or beyond it: for most, also where classes behind the
    # first have changed places.
    naive = Naive(network)
    before = np.array([naive(-np.sort(-p)) for p in own])
    after = np.array([naive(-np.sort(-softmax(row))) for row in found])
    moved = (found != z.astype(np.float32)).any(1)
    assert moved.mean() > 0.9
    assert (before[moved] * after[moved] < 1e-3).mean() > 0.6
    assert (np.abs(after[moved]) < np.abs(before[moved])).mean() > 0.99
    assert np.median(np.abs(after[moved])) < 0.3 * np.median(np.abs(before[moved]))


def test_a_fleet_s_answers_are_each_network_s_own(tmp_path):
    asked = querier(tmp_path)
    plain, hidden = subjects(None), subjects("memguard:0.5")
    before, after = asked.query(plain), asked.query(hidden)
    # Two networks on a half each, for each of two models.
    assert asked.library.num_trained == 2 + 4
    assert asked.name(plain[0]) == asked.name(hidden[0])
    assert asked.identity(plain[0]) != asked.identity(hidden[0])
    numbers = asked.learned(hidden)
    assert numbers.shape == (2, memguard.num_weights(30))
    assert (numbers[0] != numbers[1]).any()
    for i, (own, found) in enumerate(zip(before, after, strict=True)):
        np.testing.assert_array_equal(own.correct, found.correct)
        given = answering([hidden[i].defence], None, lambda i=i: numbers[i : i + 1])
        alone = jax.jit(given.fn)(given.strength[0], np.log(own.whole()))
        # Steps turn at kinks: the last bit of a posterior may decide where to.
        apart = np.abs(softmax(np.asarray(alone)) - found.whole())
        assert (apart > 2e-3).mean() < 0.03
        assert apart.max() < 0.02
        assert np.abs(own.whole() - found.whole()).max() > 5e-3
    told = next(asked._told(hidden[:1]))
    assert (told.trained.sum(0) == 1).all()


@pytest.mark.parametrize("text", ["memguard:-1", "memguard:2.5"])
def test_bad_budgets_are_one_line(text):
    with pytest.raises(
        InputError, match=r"MemGuard's budget is .*, expected one number in \[0, 2\]"
    ):
        get_defence(text)


def test_several_budgets_are_one_line():
    with pytest.raises(InputError, match="MemGuard's budget is"):
        get_defence("memguard:0.1,0.2")


def test_forests_are_refused():
    from jleaks.experiments.subjects import defended

    forest = subjects(None, recipe=ForestRecipe(5))[0]
    with pytest.raises(InputError, match="forest; memguard:1 defends networks alone"):
        defended(forest, "memguard:1", keys(1)[0])
