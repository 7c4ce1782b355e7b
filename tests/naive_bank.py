"""Signals of a bank in plain arrays, and who is compared with whom, for attacks written as loops."""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass
class NaiveBank:
    """Signals of M models on N records under Q queries; query 0 is the record itself."""

    phi: np.ndarray  # [Q, M, N] float32
    phi_t: np.ndarray  # [M, N] float32, query 0 at the temperature
    correct: np.ndarray  # [Q, M, N] bool
    mentr: np.ndarray  # [M, N] float32
    maximum: np.ndarray  # [M, N] float32
    entropy: np.ndarray  # [M, N] float32
    member: np.ndarray  # [M, N] bool
    labels: np.ndarray  # [N] int32
    population: np.ndarray  # [N] bool
    num_classes: int
    logits: np.ndarray | None = None  # [Q, M, N, K] float32, what all signals are computed from
    taken: np.ndarray | None = None  # [M, N] bool: which references a draw takes for a record

    @property
    def candidates(self) -> np.ndarray:
        return ~self.population


def bank_from_logits(logits, member, labels, population, temperature=2.0) -> NaiveBank:
    """All signals of logits [Q, M, N, K]."""
    is_label = labels[:, None] == np.arange(logits.shape[-1])

    def label_and_rest(z):
        return z.sum(-1, where=is_label), np.logaddexp.reduce(np.where(is_label, -np.inf, z), -1)

    answer = logits.astype(np.float64)
    own, rest = label_and_rest(answer)
    cold_own, cold_rest = label_and_rest(answer[0] / temperature)
    post = np.exp(answer[0] - np.logaddexp(own[0], rest[0])[..., None])
    p_y = post.sum(-1, where=is_label)
    mentr = (1 - p_y) * np.log(p_y) + (post * np.log(1 - post)).sum(-1, where=~is_label)
    entropy = (post * np.log(post)).sum(-1)
    computed = (own - rest, cold_own - cold_rest, mentr, post.max(-1), entropy)
    phi, phi_t, *stored = (v.astype(np.float32) for v in computed)
    correct, K = answer.argmax(-1) == labels, logits.shape[-1]
    return NaiveBank(phi, phi_t, correct, *stored, member, labels, population, K, logits)


def random_bank(
    rng: np.random.Generator,
    num_models: int,
    num_records: int,
    num_queries: int = 3,
    num_classes: int = 4,
    num_population: int = 0,
    ties: bool = False,
    all_in: int = 0,
    all_out: int = 0,
    null: bool = False,
    temperature: float = 2.0,
) -> NaiveBank:
    """A bank of random answers; models 2i and 2i+1 trained on complementary halves.

    `num_records` counts the population in.  `all_in` and `all_out` candidates are in or out of all
    models.  With `ties` only the label's logit varies, in steps of 0.5: many values are equal.
    With `null` membership has no effect on the answers.
    """
    assert num_models % 2 == 0
    Q, M, N, K = num_queries, num_models, num_records, num_classes
    order = rng.permutation(N)
    population = np.isin(np.arange(N), order[:num_population])
    free = order[num_population + all_in + all_out :]
    member = np.zeros((M, N), bool)
    for pair in range(M // 2):
        half = rng.permutation(free)[: len(free) // 2]
        member[2 * pair, half] = True
        member[2 * pair + 1, free] = ~member[2 * pair, free]
    member[:, order[num_population : num_population + all_in]] = True
    labels = rng.integers(0, K, N).astype(np.int32)
    # The difficulty of a record, the noise of a model and that of every query but the first;
    # training on a record raises its label's logit.
    logits = 0.4 * rng.normal(size=(Q, M, N, K))
    logits[0] = 0
    logits += rng.normal(size=(N, K)) + 0.8 * rng.normal(size=(M, N, K))
    is_label = labels[:, None] == np.arange(K)
    logits += is_label * (0.7 + (0.0 if null else 1.5) * member[..., None])
    if ties:
        logits = np.where(is_label, np.round(2 * logits) / 2, 0)
    return bank_from_logits(logits.astype(np.float32), member, labels, population, temperature)


def references(bank: NaiveBank, target: int) -> list[int]:
    """All models but the target and its twin."""
    return [m for m in range(len(bank.member)) if m not in (target, target ^ 1)]


def shadow(bank: NaiveBank, target: int) -> int:
    """The first model of the next pair."""
    return ((target // 2 + 1) * 2) % len(bank.member)


def log_p(phi: float) -> float:
    """Log of the label's posterior, -softplus(-phi)."""
    return float(-np.logaddexp(0.0, -np.float64(phi)))


def p(phi: float) -> float:
    """The label's posterior, sigmoid(phi)."""
    return 1 / (1 + math.exp(-float(phi)))


def side(bank: NaiveBank, refs: list[int], x: int, inside: bool) -> list[int]:
    """IN(t, x) or OUT(t, x)."""
    taken = [m for m in refs if bank.taken is None or bank.taken[m, x]]
    return [m for m in taken if bool(bank.member[m, x]) == inside]
