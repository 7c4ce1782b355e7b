"""Where arrays of the host begin, so that JAX's CPU devices take them without a copy."""

import math

import numpy as np

# Bytes at a multiple of which XLA's CPU devices want an array to begin.
_ALIGNMENT = 64


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Returns an array that JAX's CPU devices take as it is, all of them the same, without a copy."""
    size = math.prod(shape) * dtype.itemsize
    room = np.empty(size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + size].view(dtype).reshape(shape)


def aligned(array: np.ndarray) -> np.ndarray:
    """Returns an array, or its copy, that is as one of `empty`."""
    if array.ctypes.data % _ALIGNMENT == 0 or not array.size:
        return array
    found = empty(array.shape, array.dtype)
    found[...] = array
    return found
