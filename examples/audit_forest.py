"""Audits a random forest on scikit-learn's digits: a report, a verdict, the records at most risk.

python examples/audit_forest.py [FOLDER]      about a minute on two cores
"""

import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

import jleaks


def fit(records, labels, seed):
    return RandomForestClassifier(random_state=seed).fit(records, labels)


def predict(model, records):
    return model.predict_proba(records)


if __name__ == "__main__":
    records, labels = load_digits(return_X_y=True)
    trained_on = np.random.default_rng(0).permutation(len(labels)) < len(labels) // 2
    report = jleaks.audit(
        records, labels, trained_on, fit=fit, predict=predict, num_shadows=64, tell=print
    )
    print(report.verdict)
    print(report.records.head(10))
    report.save(sys.argv[1] if len(sys.argv) > 1 else "audit")
