"""Audits of a model of one's own: records and a way to train in, a verdict with its evidence out.

    records.py   the records: data of any kind, labels, who was trained on, ids and groups
    files.py     the same from tables, npz, folders of images, datasets of TFDS
    models.py    the audited model and its shadows, trained (shadows.py, fleet.py) or known by their answers
    answers.py   what models answered, as a bank whose first model is the audited one
    attacks.py   which attacks what was given allows, their scores, the one that an attacker would choose
    risk.py      thresholds from shadows alone, p-values of records, precision at a prior, groups
    verdict.py   the level of risk, by a stated rule
    result.py    what an audit found
    audit.py     one call for all of it, shadows in batches if they have a budget (sequential.py)

The report is `jleaks.report.audit_page`, the gate of a release pipeline `policy.py`, with regressions by
record (baseline.py).

What has only answered can be audited, too: here labels alone, all of them right for members.

>>> import numpy as np
>>> from jleaks.auditing.audit import audit
>>> truth = np.arange(400) % 4
>>> member = np.arange(400) < 200
>>> said = np.where(member | (np.arange(400) % 3 > 0), truth, (truth + 1) % 4)
>>> found = audit(labels=truth, member=member, answers=said, attacks=["correctness"])
>>> round(found.train_accuracy, 3), round(found.test_accuracy, 3)
(1.0, 0.665)
>>> (row,) = found.rows
>>> round(row.get("auc").get("mean"), 4)
0.6675
"""
