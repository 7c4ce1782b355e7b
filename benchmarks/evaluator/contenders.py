"""Other ways to evaluate a bank: loops and NumPy.  Nothing here imports JAX.

All take the same synthetic answers and return scores by the names of `jleaks.attacks.registry`.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from scipy.special import expit, log_expit, log_ndtr

ATTACKS = (
    *("lira_online_record", "lira_offline_record", "rmia_online", "rmia_offline"),
    *("calibrated", "attack_p", "attack_r_share"),
)
GAMMA, OFFLINE_A, VARIANCE_FLOOR = 2.0, 0.3, 1e-4
FPRS = (0.01, 0.001, 0.0001)
# Records of RMIA's population that public code is given; its memory is records times these.
_OUTSIDE = 1_000
_CHUNK = 500

Scores = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What M models answered; models 2i and 2i + 1 share the records between them.

    Attributes:
      phi: [M, N] scaled confidence.
      phi_t: [M, N] the same at RMIA's temperature.
      member: [M, N] who trained on what.
      outside_t: [M, Z] `phi_t` of records that nobody trained on.
    """

    phi: np.ndarray
    phi_t: np.ndarray
    member: np.ndarray
    outside_t: np.ndarray

    def references(self, target: int) -> np.ndarray:
        """All models but the target and its twin."""
        models = np.arange(len(self.phi))
        return models[models // 2 != target // 2]


def synthetic(num_models: int, num_records: int) -> Answers:
    """Records of different difficulty, models of different answers; the same on every call."""
    rng = np.random.default_rng(0)
    halves = [rng.permutation(num_records) < num_records // 2 for _ in range(num_models // 2)]
    member = np.stack([half for mine in halves for half in (mine, ~mine)])
    total = num_records + _OUTSIDE
    phi = 2 * rng.normal(size=total) + rng.normal(
        0, rng.uniform(0.5, 1.5, total), (num_models, total)
    )
    phi[:, :num_records] += 1.5 * member
    phi = phi.astype(np.float32)
    phi_t = phi * np.float32(0.6)
    return Answers(phi[:, :num_records], phi_t[:, :num_records], member, phi_t[:, num_records:])


def measures(scores: np.ndarray, member: np.ndarray) -> tuple[float, list[int]]:
    """AUC, and members found at each of `FPRS`."""
    inside, outside = -scores[member], np.sort(-scores[~member])
    inside.sort()
    above, let_in = (np.searchsorted(outside, inside, side=side) for side in ("left", "right"))
    below = 2.0 * len(outside) - above.mean() - let_in.mean()
    allowed = np.floor(np.array(FPRS) * len(outside) + 1e-4)
    return below / (2 * len(outside)), np.searchsorted(let_in, allowed, side="right").tolist()


def _log_normal(phi: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return -0.5 * ((phi - mean) ** 2 / variance + np.log(variance) + math.log(2 * math.pi))


def _share_below(population: np.ndarray, values: np.ndarray) -> np.ndarray:
    ordered = np.sort(population)
    below = np.searchsorted(ordered, values, side="left")
    return (below + np.searchsorted(ordered, values, side="right")) / (2 * len(ordered))


def by_search(log_ratio: np.ndarray) -> np.ndarray:
    """RMIA's share of dominated records by binary search."""
    ordered = np.sort(log_ratio)
    return np.searchsorted(ordered, log_ratio - math.log(GAMMA), side="right") / len(log_ratio)


def by_pairs(log_ratio: np.ndarray) -> np.ndarray:
    """The same by comparing every record with every other, a chunk at a time."""
    own = log_ratio - math.log(GAMMA)
    chunks = [own[i : i + _CHUNK, None] for i in range(0, len(own), _CHUNK)]
    found = [np.count_nonzero(chunk >= log_ratio, axis=1) for chunk in chunks]
    return np.concatenate(found) / len(log_ratio)


class Loops:
    """One record of one target at a time."""

    def __init__(self, answers: Answers):
        """Transposes the answers, so that a record's are side by side."""
        self._answers = answers
        self._phi, self._member = (np.ascontiguousarray(a.T) for a in (answers.phi, answers.member))
        self._p_t = expit(np.ascontiguousarray(answers.phi_t.T))

    def log_ratios(self, target: int) -> tuple[np.ndarray, np.ndarray]:
        """RMIA's log ratios of all records, online and offline: what each is compared with."""
        refs = self._answers.references(target)
        p, out = self._p_t[:, refs], ~self._member[:, refs]
        mean = (p * out).sum(1) / out.sum(1)
        offline = ((1 + OFFLINE_A) * mean + 1 - OFFLINE_A) / 2
        own = np.log(self._p_t[:, target])
        return own - np.log(p.mean(1)), own - np.log(offline)

    def scores(self, target: int, records: np.ndarray) -> Scores:
        """Scores of some records."""
        refs, ratios = self._answers.references(target), self.log_ratios(target)
        return self.timed(target, records, refs, ratios)

    def timed(
        self, target: int, records: np.ndarray, refs: np.ndarray, ratios: tuple[np.ndarray, ...]
    ) -> Scores:
        """The loop itself."""
        found: Scores = {name: np.empty(len(records)) for name in ATTACKS}
        population = np.ascontiguousarray(self._phi[:, target])
        log_gamma = math.log(GAMMA)
        for i, x in enumerate(records):
            phi, p_t = float(self._phi[x, target]), float(self._p_t[x, target])
            values, inside = self._phi[x, refs], self._member[x, refs]
            ins, outs = values[inside], values[~inside]
            out_mean, out_variance = (
                float(np.median(outs)),
                max(float(np.var(outs)), VARIANCE_FLOOR),
            )
            in_mean, in_variance = float(np.median(ins)), max(float(np.var(ins)), VARIANCE_FLOOR)
            found["lira_online_record"][i] = -0.5 * (
                (phi - in_mean) ** 2 / in_variance
                - (phi - out_mean) ** 2 / out_variance
                + math.log(in_variance / out_variance)
            )
            z = (phi - out_mean) / math.sqrt(out_variance)
            found["lira_offline_record"][i] = -log_ndtr(-z)
            p = self._p_t[x, refs]
            mean = float(p[~inside].mean())
            mean_in_place = ((1 + OFFLINE_A) * mean + 1 - OFFLINE_A) / 2
            for name, average, all_ratios in (
                ("rmia_online", float(p.mean()), ratios[0]),
                ("rmia_offline", mean_in_place, ratios[1]),
            ):
                own = math.log(p_t / average) - log_gamma
                found[name][i] = np.mean(all_ratios <= own)
            log_p = -math.log1p(math.exp(-phi))
            found["calibrated"][i] = log_p - float(log_expit(outs).mean())
            below, beside = (population < phi).sum(), (population == phi).sum()
            found["attack_p"][i] = (below + beside / 2) / len(population)
            found["attack_r_share"][i] = ((outs < phi).sum() + (outs == phi).sum() / 2) / len(outs)
        return found


class Vectorised:
    """NumPy on all records of one target at a time, references by masks."""

    def __init__(self, answers: Answers, dominated: Callable[[np.ndarray], np.ndarray]):
        """Transposes the answers, so that sums and sorts over models are of neighbours.

        Args:
          answers: Of all models.
          dominated: RMIA's share, `by_pairs` or `by_search`.
        """
        self._answers, self._dominated = answers, dominated
        self._phi, self._member = (np.ascontiguousarray(a.T) for a in (answers.phi, answers.member))
        self._log_p = log_expit(self._phi)
        self._p_t = expit(np.ascontiguousarray(answers.phi_t.T))

    def scores(self, target: int) -> Scores:
        """Scores of all records."""
        refs = self._answers.references(target)
        values, inside = self._phi[:, refs], self._member[:, refs]
        phi = self._answers.phi[target]
        fits = {}
        for side, chosen in (("in", inside), ("out", ~inside)):
            count = chosen.sum(1)
            ordered = np.sort(np.where(chosen, values, np.float32(np.inf)), axis=1)
            middle = np.stack([(count - 1) // 2, count // 2], axis=1)
            median = np.take_along_axis(ordered, middle, axis=1).mean(1)
            weights = chosen.astype(np.float32)
            mean = np.einsum("nm,nm->n", values, weights) / count
            apart = values - mean[:, None]
            variance = np.einsum("nm,nm,nm->n", apart, apart, weights) / count
            fits[side] = median, np.maximum(variance, VARIANCE_FLOOR)
        p_t, out = self._p_t[:, refs], weights
        mean_out = np.einsum("nm,nm->n", p_t, out) / count
        calibration = np.einsum("nm,nm->n", self._log_p[:, refs], out) / count
        own = phi[:, None]
        below = np.count_nonzero((values < own) & ~inside, axis=1)
        beside = np.count_nonzero((values == own) & ~inside, axis=1)
        return _finish(
            fits, self._p_t[:, target], p_t.mean(1), mean_out, self._log_p[:, target] - calibration,
            (below + beside / 2) / count, phi, self._dominated,
        )  # fmt: skip


def _finish(
    fits: dict[str, tuple[np.ndarray, np.ndarray]],
    own_p_t: np.ndarray,
    mean_all: np.ndarray,
    mean_out: np.ndarray,
    calibrated: np.ndarray,
    attack_r_share: np.ndarray,
    phi: np.ndarray,
    dominated: Callable[[np.ndarray], np.ndarray],
) -> Scores:
    """From one target's summaries of its references to its scores."""
    offline = ((1 + OFFLINE_A) * mean_out + 1 - OFFLINE_A) / 2
    log_p_t = np.log(own_p_t)
    return {
        "lira_online_record": _log_normal(phi, *fits["in"]) - _log_normal(phi, *fits["out"]),
        "lira_offline_record": -log_ndtr(-(phi - fits["out"][0]) / np.sqrt(fits["out"][1])),
        "rmia_online": dominated(log_p_t - np.log(mean_all)),
        "rmia_offline": dominated(log_p_t - np.log(offline)),
        "calibrated": calibrated,
        "attack_p": _share_below(phi, phi),
        "attack_r_share": attack_r_share,
    }


class Shared:
    """NumPy with the work that targets have in common done once, as jleaks does it.

    Sums over references are those over all models less two; medians come from one sort per side.
    """

    def __init__(self, answers: Answers):
        """Sums and sorts over all models."""
        self._answers = answers
        self._p_t, self._log_p = expit(answers.phi_t), log_expit(answers.phi)
        values = answers.phi.astype(np.float64)
        self._center = values.mean(0)
        self._values = values - self._center
        self._sides: dict[str, tuple[np.ndarray, ...]] = {}
        for side, chosen in (("in", answers.member), ("out", ~answers.member)):
            kept = np.where(chosen, self._values, 0)
            total = chosen.sum(0)
            filled = np.where(chosen, answers.phi, np.float32(np.inf))
            ordered = np.sort(np.ascontiguousarray(filled.T), axis=1)
            # One model of each pair is on this side: so many are left, whichever the target.
            rest = total - 1
            at = [(rest - 1) // 2, (rest - 1) // 2 + 1, rest // 2, rest // 2 + 1]
            near = np.take_along_axis(ordered, np.stack(at, 1), axis=1).T.copy()
            self._sides[side] = chosen, kept.sum(0), (kept**2).sum(0), rest, near
        out = ~answers.member
        self._sum_all, self._sum_out = self._p_t.sum(0), (self._p_t * out).sum(0)
        self._calibration = (self._log_p * out).sum(0)

    def scores(self, target: int) -> Scores:
        """Scores of all records."""
        answers, twin = self._answers, target ^ 1
        phi, member = answers.phi[target], answers.member[target]
        fits = {}
        for side, (_, total, squares, rest, near) in self._sides.items():
            # The one of the pair that is on this side.
            mine = member if side == "in" else ~member
            gone = np.where(mine, self._values[target], self._values[twin])
            mean = (total - gone) / rest
            variance = (squares - gone**2) / rest - mean**2
            left = np.where(mine, phi, answers.phi[twin])
            low = np.where(left <= near[0], near[1], near[0])
            high = np.where(left <= near[2], near[3], near[2])
            fits[side] = (low + high) / 2, np.maximum(variance, VARIANCE_FLOOR)
        out, count = self._sides["out"][0], self._sides["out"][3]
        mean_all = (self._sum_all - self._p_t[target] - self._p_t[twin]) / (len(answers.phi) - 2)

        def without(total: np.ndarray, values: np.ndarray) -> np.ndarray:
            return (total - np.where(member, values[twin], values[target])) / count

        below = np.count_nonzero((answers.phi < phi) & out, axis=0).astype(np.float64)
        below += np.count_nonzero((answers.phi == phi) & out, axis=0) / 2
        # Less the one of the pair that is OUT: the target itself, beside its own value, or its twin.
        twin_phi = answers.phi[twin]
        below -= np.where(member, (twin_phi < phi) + 0.5 * (twin_phi == phi), 0.5)
        calibrated = self._log_p[target] - without(self._calibration, self._log_p)
        return _finish(
            fits, self._p_t[target], mean_all, without(self._sum_out, self._p_t), calibrated,
            below / count, phi, by_search,
        )  # fmt: skip
