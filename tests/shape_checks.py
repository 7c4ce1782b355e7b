"""The decorator that holds functions to their annotations under test.

A whole number is a float, too, and one of NumPy's is a whole number.
"""

import numpy as np
from beartype import BeartypeConf, FrozenDict, beartype

_OVERRIDES = FrozenDict({int: int | np.integer, float: float | int | np.integer})

checked = beartype(conf=BeartypeConf(hint_overrides=_OVERRIDES))
