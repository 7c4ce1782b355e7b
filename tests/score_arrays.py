"""Arrays of score files, how they are read, and what they must become."""

import numpy as np
from scipy.special import log_softmax, logsumexp

from jleaks.attacks import score_files

M, N, K = 6, 60, 5


def read(tmp_path, **arrays):
    path = tmp_path / "scores.npz"
    np.savez(path, **arrays)
    return score_files.read(path)


def expected(logits, labels):
    """Phi and modified entropy in float64; infinite where a probability is zero."""
    is_true = labels[:, None] == np.arange(logits.shape[-1])
    others = np.where(is_true, -np.inf, logits)
    phi = logits.max(-1, where=is_true, initial=-np.inf) - logsumexp(others, axis=-1)
    log_p = log_softmax(logits, axis=-1)
    p = np.exp(log_p)
    # log(1 - p) from the others, one class at a time.
    log_rest = np.stack(
        [logsumexp(np.delete(log_p, k, -1), axis=-1) for k in range(logits.shape[-1])], -1
    )
    with np.errstate(invalid="ignore"):
        terms = np.where(is_true, np.exp(log_rest) * log_p, p * log_rest)
    return phi, np.nan_to_num(terms, nan=0.0, posinf=np.inf, neginf=-np.inf).sum(-1)
