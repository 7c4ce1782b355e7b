"""Networks, forests and stacks of models, and the kernels that compute their layers.

>>> import numpy as np
>>> from jleaks.models.forest import Forest, ForestRecipe
>>> records, labels = np.arange(20, dtype=np.uint8)[:, None] % 2, np.arange(20, dtype=np.int32) % 2
>>> key = np.zeros(2, np.uint32)
>>> forest = Forest.fit(ForestRecipe(5), "binary", records, labels, np.arange(10), 2, key)
>>> forest.posteriors(records[10:]).argmax(1).tolist()
[0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
"""
