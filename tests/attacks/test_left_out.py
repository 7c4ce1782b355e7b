"""What a target leaves out of sums and orders leaves no trace in its scores."""

import by_side
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from remembering_banks import auc_of, bank_of, mask, sigma

from jleaks.attacks import sides
from jleaks.attacks.bank import Bank
from jleaks.attacks.evaluate_bank import scores
from jleaks.attacks.reference_statistics import VARIANCE_FLOOR
from jleaks.attacks.references import (
    References,
    assign,
)
from jleaks.attacks.registry import ATTACKS


@pytest.mark.parametrize("drawn", [False, True])
def test_what_a_target_leaves_out_leaves_no_trace(rng, drawn):
    # The target's own answer was in the sum over one side or over the other; taken out, nothing is left.
    m, n, taken = 10, 4000, 3
    values = np.concatenate(
        [
            rng.choice(np.float32([0.7, 2.3]), (m, n // 4)),
            rng.normal(0, 3, (m, n // 4)),
            rng.normal(30, 0.01, (m, n // 4)),
            rng.normal(0, 1, (m, n // 4)) - 150 * (rng.random((m, n // 4)) < 0.5),
        ],
        axis=1,
    ).astype(np.float32)
    member = rng.random((m, n)) < 0.5
    priority = rng.random((m, n))
    target = np.zeros(1, np.int32)
    models = np.arange(1, m, dtype=np.int32)[None]
    refs = References(target, models, m)
    found = []
    for own in (False, True):
        member[0] = own
        rank = np.zeros((m, n), np.int32)
        for side in (True, False):
            mine = np.where(member == side, priority, np.inf)
            rank = np.where(member == side, mine.argsort(0).argsort(0), rank)
        args = [jnp.asarray(a) for a in (models, refs.left_out)]
        if not drawn:
            chosen = sides.Chosen(jnp.asarray(member), *args)
        else:
            spare = member & (rank == taken)
            spare = np.where(spare.any(0), spare.argmax(0), -1).astype(np.int32)[None]
            chosen = sides.Chosen(
                jnp.asarray(member & (rank <= taken)), *args,
                jnp.asarray(rank.astype(np.int32)), jnp.asarray(taken), jnp.asarray(spare),
            )  # fmt: skip
        log_p = jax.nn.log_sigmoid(jnp.asarray(values))
        moments = jax.jit(by_side.moments)(jnp.asarray(values), chosen)
        found.append((*moments, jax.jit(by_side.log_means)(log_p, chosen)))

    def variance(size, deviations):
        # As attacks see it.
        return jnp.maximum(deviations / jnp.maximum(size, 1), VARIANCE_FLOOR)

    seen = [(size, mean, variance(size, around), log_p) for size, mean, around, log_p in found]
    # Answers around 30 that differ by 0.01, the third quarter, have variances right to the last bit or two.
    last = np.arange(n) // (n // 4) == 2
    for i, (a, b) in enumerate(zip(*seen, strict=True)):
        np.testing.assert_array_equal(a[:, ~last] if i == 2 else a, b[:, ~last] if i == 2 else b)
        np.testing.assert_allclose(a, b, rtol=3e-7)
    # Float64, apart from jleaks.
    inside = member[1:].astype(bool)
    if drawn:
        order = np.where(inside, priority[1:], np.inf).argsort(0).argsort(0)
        inside = inside & (order < taken)
    exact = np.where(inside, values[1:].astype(np.float64), np.nan)
    some = inside.any(0)
    size, mean, deviations, log_mean = (np.asarray(a)[0][some] for a in found[0])
    np.testing.assert_array_equal(size, inside.sum(0)[some])
    np.testing.assert_allclose(mean, np.nanmean(exact[:, some], 0), rtol=1e-6)
    np.testing.assert_allclose(
        deviations, np.nanvar(exact[:, some], 0) * inside.sum(0)[some], rtol=1e-5, atol=1e-10
    )
    log_p = np.where(inside, -np.logaddexp(0, -values[1:].astype(np.float64)), -np.inf)
    expected = np.logaddexp.reduce(log_p, axis=0)[some] - np.log(inside.sum(0)[some])
    np.testing.assert_allclose(log_mean, expected, rtol=2e-6, atol=1e-7)


def test_ties_of_answers_are_not_broken_by_membership():
    # Two answers alone: whole groups of records have one score on paper.
    attacks = [ATTACKS[name] for name in ("lira_online_record", "base_online", "calibrated")]
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        member = mask("exactly half", rng, 8, 12_000)
        phi = rng.choice(np.float32([0.7, 2.3]), member.shape)
        bank = bank_of(member, rng, tuple(range(8)))
        bank = Bank(**{**vars(bank), "phi": phi[None], "phi_t": phi / 2, "correct": None})
        references, shadows = assign(bank)
        rows = scores(bank, attacks, references, shadows).values()
        auc = [[auc_of(*one) for one in zip(row, member, strict=True)] for row in rows]
        found.append((np.array(auc) - 0.5) / sigma(member))
    # 24 targets of standard normals, which hang together in a bank: rounding moved LiRA by 2.7.
    assert (np.abs(np.mean(found, axis=(0, 2))) < 1).all()


def test_means_of_posteriors_do_not_underflow():
    rng = np.random.default_rng(15)
    n, m = 400, 8
    half = rng.random((m // 2, n)) < 0.5
    member = np.stack([half, ~half], 1).reshape(m, n)
    phi = rng.normal(0, 3, (m, n)) + 12 * member
    hard = rng.random(n) < 0.15
    phi[:, hard] -= 260
    phi = phi.astype(np.float32)
    bank = Bank(
        phi[None], member, np.zeros(n, np.int32), 2, np.zeros(n, bool), phi_t=phi / 2, twins=True
    )
    references, shadows = assign(bank)
    attacks = [ATTACKS[a] for a in ("base_online", "rmia_online", "base_offline", "attack_r")]
    found = scores(bank, attacks, references, shadows)
    log_p = -np.logaddexp(0, -phi.astype(np.float64))
    for target in range(m):
        refs = references.models[target]
        means = []
        for side in (member, ~member):
            terms = np.where(side[refs], log_p[refs], -np.inf)
            means.append(np.logaddexp.reduce(terms, axis=0) - np.log(side[refs].sum(0)))
        online = log_p[target] - (np.logaddexp(*means) - np.log(2))
        np.testing.assert_allclose(found["base_online"][target], online, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(
            found["base_offline"][target], log_p[target] - means[1], rtol=1e-4, atol=1e-3
        )
    for rows in found.values():
        assert np.isfinite(rows).all()
