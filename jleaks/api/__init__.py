"""What Python users call: audit a model, make a bank and attack it, run the main job, train a fleet.

Everything here is a few lines over `jleaks.auditing`, `jleaks.experiments` and `jleaks.training`, with
tables as data frames; `import jleaks` gives all of it.

>>> import jleaks
>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> records, labels = rng.normal(size=(60, 4)).astype(np.float32), rng.integers(0, 3, 60)
>>> recipe = jleaks.Recipe(epochs=1, batch_size=10)
>>> fleet = jleaks.train_fleet(records, labels, rng.random((2, 60)) < 0.5, recipe=recipe)
>>> fleet.posteriors(records[:5]).shape
(2, 5, 3)
"""
