"""Every attack of a bank as a loop in float64: the slow form that the fast one is tested against.

Score of record x on target t, larger = likelier a member.  The letters are those of the formulas:
phi logit-scaled confidence, p posterior of the label, IN and OUT the references that trained and
did not train on x, G and S2 mean and variance of all (model, record) pairs of one side, W the
variance within records, B between them.  All records, population included, enter G, S2, W and B.
"""

import math

import naive_rapid
import numpy as np
from naive_bank import (
    NaiveBank,
    bank_from_logits,
    log_p,
    p,
    random_bank,
    references,
    shadow,
    side,
)
from scipy import stats

__all__ = ["NaiveBank", "bank_from_logits", "random_bank", "references", "shadow"]

VAR_FLOOR = 1e-4

# name: (form, variance, queries); "variant": whichever is asked for
LIRA = {
    "lira_online": ("online", "variant", "first"),
    "lira_online_record": ("online", "record", "first"),
    "lira_online_global": ("online", "global", "first"),
    "lira_online_queries": ("online", "variant", "all"),
    "lira_offline": ("offline", "variant", "first"),
    "lira_offline_record": ("offline", "record", "first"),
    "lira_offline_global": ("offline", "global", "first"),
    "lira_offline_queries": ("offline", "variant", "all"),
    "lira_offline_two_sided": ("two-sided", "variant", "first"),
}
ATTACKS = ("correctness", "confidence", "loss", "maximum", "entropy", "modified_entropy")
ATTACKS += ("class_thresholds", "attack_p", "attack_r", "attack_r_logit", "attack_r_share")
ATTACKS += ("calibrated", *LIRA, "rmia_online", "rmia_offline", "base_online", "base_offline")
ATTACKS += ("base_online_tempered", "base_offline_tempered", "bavaria", "bavaria_gaussian")
ATTACKS += ("bavaria_offline", "label_only", "label_boundary", "pmia_all", "pmia_class")
ATTACKS += ("informia_online", "informia_offline", "rapid")
# Of these a shadow chooses the form, of equally good ones the first.
VARIANTS = {name: ("global", "record") for name, (_, kind, _) in LIRA.items() if kind == "variant"}
VARIANTS["rmia_offline"] = VARIANTS["informia_offline"] = tuple(i / 10 for i in range(11))


def answers(bank: NaiveBank, refs: list[int], q: int, x: int, inside: bool) -> list[float]:
    """phi of the models on that side of x."""
    return [float(bank.phi[q, m, x]) for m in side(bank, refs, x, inside)]


def pairs(bank: NaiveBank, refs: list[int], inside: bool) -> list[tuple[int, int]]:
    """All (m, x) with m on that side of x."""
    return [(m, x) for x in range(len(bank.labels)) for m in side(bank, refs, x, inside)]


def mean(values: list[float]) -> float:
    if not values:
        raise ValueError("the attack needs a side that is empty for all records")
    return float(np.mean(values))


def mean_of(bank, refs, x, values, of, inside=False) -> float:
    """Mean of `of(values[m, x])` over one side of x; over all pairs of the side where that is empty."""
    chosen = [(m, x) for m in side(bank, refs, x, inside)] or pairs(bank, refs, inside)
    return mean([of(values[m, z]) for m, z in chosen])


def log_mean_of(bank, refs, x, values, inside) -> float:
    """Log of the mean posterior of one side, in the log domain; over all pairs where that is empty."""
    chosen = [(m, x) for m in side(bank, refs, x, inside)] or pairs(bank, refs, inside)
    if not chosen:
        raise ValueError("the attack needs a side that is empty for all records")
    found = [log_p(values[m, z]) for m, z in chosen]
    return float(np.logaddexp.reduce(found) - math.log(len(found)))


def log_mean_of_sides(bank, refs, x, values) -> float:
    """Log of (mean IN + mean OUT) / 2."""
    sides = [log_mean_of(bank, refs, x, values, inside) for inside in (True, False)]
    return float(np.logaddexp(*sides) - math.log(2))


def population_variance(values: list[float]) -> float:
    return max(float(np.var(values)), VAR_FLOOR)


def global_side(bank: NaiveBank, refs: list[int], q: int, inside: bool) -> tuple[float, ...]:
    """(G, S2, W, B) of one side."""
    values = [float(bank.phi[q, m, x]) for m, x in pairs(bank, refs, inside)]
    G, S2 = mean(values), population_variance(values)
    squares, freedom = 0.0, 0
    for x in range(len(bank.labels)):
        own = answers(bank, refs, q, x, inside)
        squares += sum((value - np.mean(own)) ** 2 for value in own)
        freedom += max(len(own) - 1, 0)
    W = max(squares / freedom, VAR_FLOOR) if freedom > 0 else S2
    return G, S2, W, max(S2 - W, VAR_FLOOR)


def log_normal(value: float, mean: float, variance: float) -> float:
    return float(stats.norm.logpdf(value, mean, math.sqrt(variance)))


def minus_log_tail(value: float, mean: float, variance: float) -> float:
    """-log(1 - Phi(z))."""
    return float(-stats.norm.logsf((value - mean) / math.sqrt(variance)))


def lira(bank, target, refs, form, variance, queries) -> np.ndarray:
    record = variance == "record"

    def gaussian(q, x, inside):
        G, S2, _, _ = wholes[q, inside]
        own = answers(bank, refs, q, x, inside)
        mu = float(np.median(own)) if own else G
        return mu, population_variance(own) if record and len(own) >= 2 else S2

    used = range(len(bank.phi)) if queries == "all" else range(1)
    sides = (True, False) if form == "online" else (False,)
    wholes = {(q, inside): global_side(bank, refs, q, inside) for q in used for inside in sides}
    scores = np.zeros(len(bank.labels))
    for x in range(len(scores)):
        terms = []
        for q in used:
            value = float(bank.phi[q, target, x])
            out = gaussian(q, x, False)
            if form == "online":
                terms.append(log_normal(value, *gaussian(q, x, True)) - log_normal(value, *out))
            elif form == "offline":
                terms.append(minus_log_tail(value, *out))
            else:
                terms.append(-log_normal(value, *out))
        scores[x] = np.mean(terms)
    return scores


def rmia(name, bank, target, refs, gamma, offline_a) -> np.ndarray:
    log_r, N = log_ratios(name, bank, target, refs, offline_a), len(bank.labels)
    return np.array([sum(own - math.log(gamma) >= z for z in log_r) / N for own in log_r])


def log_ratios(name, bank, target, refs, offline_a) -> np.ndarray:
    N = len(bank.labels)
    log_r = np.zeros(N)
    for x in range(N):
        if name.endswith("_online"):
            average = log_mean_of_sides(bank, refs, x, bank.phi_t)
        else:
            outside = np.exp(log_mean_of(bank, refs, x, bank.phi_t, False))
            average = np.log(((1 + offline_a) * outside + (1 - offline_a)) / 2)
        log_r[x] = log_p(bank.phi_t[target, x]) - average
    return log_r


def pmia(bank, target, refs, same_class) -> np.ndarray:
    """IN answers about other records (of the class, if there are two) against the record's own OUT."""
    whole, scores = global_side(bank, refs, 0, False), np.zeros(len(bank.labels))
    for x in range(len(scores)):
        others = [(m, z) for m, z in pairs(bank, refs, True) if z != x]
        of_class = [(m, z) for m, z in others if bank.labels[z] == bank.labels[x]]
        chosen = of_class if same_class and len(of_class) > 1 else others
        if not chosen:
            raise ValueError("no record stands for it")
        proxies = [float(bank.phi[0, m, z]) for m, z in chosen]
        own = answers(bank, refs, 0, x, False)
        mu = float(np.median(own)) if own else whole[0]
        variance = population_variance(own) if len(own) >= 2 else whole[1]
        value = float(bank.phi[0, target, x])
        scores[x] = log_normal(value, float(np.mean(proxies)), population_variance(proxies))
        scores[x] -= log_normal(value, mu, variance)
    return scores


def first_wrong(votes: list[bool]) -> float:
    """Share of the votes before the first that is wrong."""
    return (votes.index(False) if False in votes else len(votes)) / len(votes)


def posterior(values: list[float], whole: tuple[float, ...]) -> tuple[float, ...]:
    """(m_n, k_n, a_n, b_n): the normal-inverse-gamma prior of a side after these values."""
    G, _, W, B = whole
    a0, b0, k0, n = 2.0, W, W / B, len(values)
    if n == 0:
        return G, k0, a0, b0
    xbar = float(np.mean(values))
    D = sum((value - xbar) ** 2 for value in values)
    k_n = k0 + n
    m_n = (k0 * G + n * xbar) / k_n
    b_n = b0 + D / 2 + k0 * n * (xbar - G) ** 2 / (2 * k_n)
    return m_n, k_n, a0 + n / 2, b_n


def log_student(value: float, m_n: float, k_n: float, a_n: float, b_n: float) -> float:
    scale = math.sqrt(b_n * (k_n + 1) / (a_n * k_n))
    return float(stats.t.logpdf(value, 2 * a_n, m_n, scale))


def shrunk(m_n: float, k_n: float, a_n: float, b_n: float) -> tuple[float, float]:
    """Mean and variance of the Gaussian forms."""
    return m_n, b_n / (a_n - 1) * (1 + 1 / k_n)


def bavaria(name, bank, target, refs) -> np.ndarray:
    sides = (False,) if name == "bavaria_offline" else (True, False)
    wholes = {inside: global_side(bank, refs, 0, inside) for inside in sides}
    scores = np.zeros(len(bank.labels))
    for x in range(len(scores)):
        value, after = float(bank.phi[0, target, x]), {}
        for inside, whole in wholes.items():
            after[inside] = posterior(answers(bank, refs, 0, x, inside), whole)
        if name == "bavaria":
            scores[x] = log_student(value, *after[True]) - log_student(value, *after[False])
        elif name == "bavaria_gaussian":
            scores[x] = log_normal(value, *shrunk(*after[True]))
            scores[x] -= log_normal(value, *shrunk(*after[False]))
        else:
            scores[x] = minus_log_tail(value, *shrunk(*after[False]))
    return scores


def class_taus(bank: NaiveBank, shadow_index: int) -> list[float]:
    """Per class, the shadow's best threshold on mentr; of all classes where one side is missing."""
    taus = []
    for c in range(bank.num_classes):
        chosen = bank.candidates & (bank.labels == c)
        if len(set(bank.member[shadow_index, chosen])) < 2:
            chosen = bank.candidates
        values, inside = bank.mentr[shadow_index, chosen], bank.member[shadow_index, chosen]
        taus.append(balanced_best_threshold(values, inside))
    return taus


def share(losses: list[float], own: float) -> float:
    """Share of losses above the record's own, ties half."""
    return sum(1.0 if loss > own else 0.5 if loss == own else 0.0 for loss in losses) / len(losses)


def interpolated_level(losses: list[float], own: float) -> float:
    """The least alpha whose quantile of 0, the losses and 1000 is at least one's own loss."""
    points = [0.0, *sorted(losses), 1000.0]
    i = sum(loss < own for loss in losses)
    low, high = points[i], max(points[i + 1], own)
    return (i + (own - low) / (high - low)) / (len(points) - 1)


def chosen_variant(
    name: str, bank: NaiveBank, shadow_index: int, shadow_refs: list[int], audited: np.ndarray
):
    """The form of an attack with the largest AUC on a shadow."""
    best, best_value = None, -1.0
    member = bank.member[shadow_index, audited]
    for variant in VARIANTS[name]:
        if name in LIRA:
            scores = score(name, bank, shadow_index, shadow_refs, variant=variant)
        else:
            # The share of dominated records ranks as the ratio does, but for ties.
            scores = log_ratios(name, bank, shadow_index, shadow_refs, variant)
        value = auc(scores[audited], member)
        if value > best_value + 1e-7:
            best, best_value = variant, value
    return best


def score(
    name: str,
    bank: NaiveBank,
    target: int,
    refs: list[int],
    shadow_index: int | None = None,
    shadow_refs: list[int] | None = None,
    gamma: float = 2.0,
    variant=None,
    base_scale: float = 0.33,
) -> np.ndarray:
    """Scores [N] of one attack; ValueError where a side it needs is empty for all records.

    `variant` is the form of an attack of `VARIANTS`.
    """
    if target in refs or (shadow_refs and shadow_index in shadow_refs):
        raise ValueError("a model is among its own references")
    if name.startswith("attack_r") and not pairs(bank, refs, False):
        raise ValueError("attack_r needs a side that is empty for all records")
    if name in LIRA:
        form, kind, queries = LIRA[name]
        return lira(bank, target, refs, form, variant if kind == "variant" else kind, queries)
    if name.startswith("rmia"):
        return rmia(name, bank, target, refs, gamma, variant)
    if name.startswith("informia"):
        found = log_ratios(name, bank, target, refs, variant)
        return found - found.mean()
    if name.startswith("bavaria"):
        return bavaria(name, bank, target, refs)
    if name.startswith("pmia"):
        return pmia(bank, target, refs, name == "pmia_class")
    if name in ("class_thresholds", "rapid") and shadow_index is None:
        raise ValueError(f"{name} needs a shadow")
    if name == "rapid":
        return naive_rapid.rapid(bank, target, refs, shadow_index, shadow_refs)
    taus = class_taus(bank, shadow_index) if name == "class_thresholds" else []
    N, phi = len(bank.labels), bank.phi[0].astype(np.float64)
    public = [z for z in range(N) if bank.population[z]] or list(range(N))

    def own(x):
        return log_p(phi[target, x])

    def losses(x):
        return [-log_p(phi[m, x]) for m in side(bank, refs, x, False)]

    def attack_r_share(x):
        return share(losses(x), -own(x)) if losses(x) else 0.5

    def level(x):
        return interpolated_level(losses(x), -own(x)) if losses(x) else 0.5

    whole = global_side(bank, refs, 0, False) if name == "attack_r_logit" else ()

    def attack_r_logit(x):
        values = answers(bank, refs, 0, x, False)
        mu = float(np.mean(values)) if values else whole[0]
        variance = population_variance(values) if len(values) >= 2 else whole[1]
        return min(-math.log(level(x)), minus_log_tail(phi[target, x], mu, variance))

    formulas = {
        "correctness": lambda x: 1.0 if bank.correct[0, target, x] else 0.0,
        "confidence": lambda x: p(phi[target, x]),
        "loss": own,
        "maximum": lambda x: bank.maximum[target, x],
        "entropy": lambda x: bank.entropy[target, x],
        "modified_entropy": lambda x: bank.mentr[target, x],
        "class_thresholds": lambda x: float(bank.mentr[target, x]) - taus[bank.labels[x]],
        "attack_p": lambda x: share([-own(z) for z in public], -own(x)),
        "attack_r": lambda x: -math.log(level(x)),
        "attack_r_logit": attack_r_logit,
        "attack_r_share": attack_r_share,
        "calibrated": lambda x: own(x) - mean_of(bank, refs, x, phi, log_p),
        "base_online": lambda x: own(x) - log_mean_of_sides(bank, refs, x, phi),
        "base_offline": lambda x: own(x) - log_mean_of(bank, refs, x, phi, False),
        "base_online_tempered": lambda x: (
            log_p(bank.phi_t[target, x]) - log_mean_of_sides(bank, refs, x, bank.phi_t)
        ),
        "base_offline_tempered": lambda x: (
            log_p(bank.phi_t[target, x])
            - base_scale * log_mean_of(bank, refs, x, bank.phi_t, False)
        ),
        "label_boundary": lambda x: first_wrong(bank.correct[:, target, x].tolist()),
        "label_only": lambda x: np.mean([float(vote) for vote in bank.correct[:, target, x]]),
    }
    return np.array([formulas[name](x) for x in range(N)], np.float64)


def threshold(
    name: str,
    bank: NaiveBank,
    target: int,
    refs: list[int],
    shadow_index: int,
    shadow_refs: list[int],
    gamma: float = 2.0,
    variant=None,
) -> float:
    """Threshold for the target from its shadow; member if score >= threshold."""
    if shadow_index not in refs or target in refs or not set(shadow_refs) <= set(refs):
        raise ValueError("the shadow and its references must be references of the target")
    if name == "correctness":
        return 0.5
    if name == "class_thresholds":
        return 0.0
    if name == "loss":
        inside = bank.candidates & bank.member[shadow_index]
        return float(np.mean([log_p(v) for v in bank.phi[0, shadow_index, inside]]))
    # What is learned on the shadow scores it, too.
    own = shadow_index, shadow_refs
    scores = score(name, bank, *own, *own, gamma=gamma, variant=variant)
    audited = bank.candidates
    return balanced_best_threshold(scores[audited], bank.member[shadow_index, audited])


def auc(scores: np.ndarray, member: np.ndarray) -> float:
    """Mann-Whitney: the share of (member, non-member) pairs in the right order, ties half."""
    others = [-b for b in scores[~member].tolist()]
    return float(np.mean([share(others, -a) for a in scores[member].tolist()]))


def tpr_at(scores: np.ndarray, member: np.ndarray, fpr: float) -> tuple[float, float, int, int]:
    """(TPR k / n, realised FPR, k members found, n members): the largest k, then the least FPR."""
    n, non_members = int(member.sum()), int((~member).sum())
    best_k, least = 0, 0.0  # the infinite threshold, always allowed
    for value in np.unique(scores):
        k = int((scores[member] >= value).sum())
        realised = int((scores[~member] >= value).sum()) / non_members
        if realised <= fpr and (k > best_k or (k == best_k and realised < least)):
            best_k, least = k, realised
    return best_k / n, least, best_k, n


def balanced_best_threshold(scores: np.ndarray, member: np.ndarray) -> float:
    """The largest score that maximises balanced accuracy with "member if score >= it"."""
    members, non_members = int(member.sum()), int((~member).sum())
    assert 0 < members < len(member)
    best, best_value = None, math.nan
    for value in np.unique(scores)[::-1]:
        found = int((scores[member] >= value).sum())
        false = int((scores[~member] >= value).sum())
        gain = found * non_members - false * members  # in integers: equal accuracies are equal
        if best is None or gain > best:
            best, best_value = gain, float(value)
    return best_value
