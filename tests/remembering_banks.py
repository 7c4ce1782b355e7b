"""Banks of models that remember or do not, by who trained on what."""

import numpy as np
import scipy.stats

from jleaks.attacks.bank import Bank

NUM_RECORDS = 3000
# With so many models of eight, odd and even, and of four.
NULL = (0, 3)


def mask(name: str, rng: np.random.Generator, m: int, n: int = NUM_RECORDS) -> np.ndarray:
    """Who trained on what, [m, n]."""
    coins = rng.random((m, n))
    places = coins.argsort(0)
    half = coins[: m // 2] < 0.5
    pairs = np.concatenate([half, ~half])
    popular = rng.uniform(0.1, 0.9, n)
    found = {
        "exactly half": places < m // 2,
        "three quarters": places < 3 * m // 4,
        "all but one": places < m - 1,
        "coins": coins < 0.5,
        "rare coins": coins < 0.25,
        "coins of records": coins < popular,
        "twins": pairs.reshape(2, -1, n).swapaxes(0, 1).reshape(m, n),
        "twins in any order": pairs[rng.permutation(m)],
        "half of each": np.where(np.arange(n) % 2, places < m // 2, coins < 0.5),
    }
    return found[name]


def bank_of(member: np.ndarray, rng: np.random.Generator, null: tuple[int, ...] = NULL) -> Bank:
    """Models that remember, but for some that do not; records differ in how hard they are."""
    m, n = member.shape
    remembers = np.ones((m, 1))
    remembers[list(null)] = 0
    phi = rng.normal(0, 2, n) + 3 * member * remembers + rng.normal(0, 1, (m, n))
    phi = phi.astype(np.float32)
    return Bank(
        phi=np.stack([phi, phi + rng.normal(0, 0.5, (m, n)).astype(np.float32)]),
        member=member,
        labels=rng.integers(0, 10, n).astype(np.int32),
        num_classes=10,
        population=np.zeros(n, bool),
        correct=np.stack([phi > 0, phi > 0.2]),
        phi_t=phi / 2,
        mentr=phi,
        maximum=1 / (1 + np.exp(-np.abs(phi))),
        entropy=np.abs(phi),
        quantile=np.zeros_like(phi),
        loss_iqr=np.abs(phi) / 2,
        boundary=np.abs(phi) / 3,
    )


def sigma(member: np.ndarray) -> np.ndarray:
    """Standard error of the AUC of a score that has nothing to do with membership."""
    return np.sqrt((1 / member.sum(-1) + 1 / (~member).sum(-1)) / 12)


def auc_of(scores: np.ndarray, member: np.ndarray) -> float:
    """The share of pairs of a member and another that the scores put in the right order."""
    found = scipy.stats.mannwhitneyu(scores[member], scores[~member])
    return float(found.statistic / (member.sum() * (~member).sum()))
