"""The array types that shapes are annotated with."""

import jax
import numpy as np

# Of the device or of the host.
AnyArray = jax.Array | np.ndarray
