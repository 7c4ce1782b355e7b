"""Convolution window by window, in NumPy's float64."""

import numpy as np


def naive_convolution(x, kernel, padding, strides):
    """Window by window; SAME answers every `strides`-th pixel, the larger border after the image."""
    size = kernel.shape[0]
    before = [0, 0]
    if padding == "SAME":
        out = [-(-n // strides) for n in x.shape[1:3]]
        totals = [
            max((o - 1) * strides + size - n, 0) for o, n in zip(out, x.shape[1:3], strict=True)
        ]
        before = [total // 2 for total in totals]
        x = np.pad(x, [(0, 0), *((b, t - b) for b, t in zip(before, totals, strict=True)), (0, 0)])
    else:
        out = [(n - size) // strides + 1 for n in x.shape[1:3]]
    found = np.zeros((len(x), *out, kernel.shape[-1]))
    for i in range(out[0]):
        for j in range(out[1]):
            window = x[:, i * strides : i * strides + size, j * strides : j * strides + size]
            found[:, i, j] = np.einsum("bhwc,hwcf->bf", window, kernel)
    return found
