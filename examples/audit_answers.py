"""Audits a model that has only answered, with shadow models that have only answered.

python examples/audit_answers.py [FOLDER]
"""

import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

import jleaks


def answers_of(records, labels, rows, seed):
    """Stands for whatever has answered: an endpoint, a file of another team."""
    model = MLPClassifier((64,), max_iter=80, random_state=seed, early_stopping=False, tol=0.1)
    model.set_params(n_iter_no_change=80).fit(records[rows], labels[rows])
    return model.predict_proba(records)


if __name__ == "__main__":
    records, labels = load_digits(return_X_y=True)
    records /= 16
    rng = np.random.default_rng(0)
    halves = [rng.permutation(len(labels)) < len(labels) // 2 for _ in range(17)]
    import warnings

    # So few epochs do not converge, nor are they meant to.
    warnings.simplefilter("ignore")
    answers = [answers_of(records, labels, half, i) for i, half in enumerate(halves)]
    report = jleaks.audit(
        labels=labels,
        member=halves[0],
        answers=answers[0],
        shadow_answers=list(zip(answers[1:], halves[1:], strict=True)),
    )
    print(report.verdict)
    report.save(sys.argv[1] if len(sys.argv) > 1 else "audit")
