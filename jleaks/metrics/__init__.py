"""What is measured of an attack, and how sure it is: AUC, TPR at a named FPR, epsilon, intervals.

>>> import numpy as np
>>> from jleaks.metrics.operating_points import tpr_of_scores
>>> scores, member = np.arange(200.0), np.arange(200) >= 100
>>> found = tpr_of_scores(scores, member, fpr=0.1)
>>> found.mean, round(found.low, 3), found.high
(1.0, 0.957, 1.0)
"""
