"""A score file's arrays."""

import numpy as np
import pytest
from score_arrays import K, M, N


@pytest.fixture
def truth(rng):
    member = rng.permuted(np.tile(np.arange(N) < N // 2, (M, 1)), axis=1)
    return {"member": member, "labels": np.arange(N) % K}


@pytest.fixture
def logits(rng):
    return rng.normal(0, 3, (M, N, K))
