"""jleaks: the forest on digits, every attack that 64 shadow models allow."""

import json

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
    member = np.random.default_rng(0).permutation(len(labels)) < len(labels) // 2
    model = fit(records[member], labels[member], seed=0)
    report = jleaks.audit(
        records, labels, member, fit=fit, predict=predict, target=model, num_shadows=64
    )
    report.save("audit")

    # What is compared.
    best = report.attacks[report.attacks.strongest].iloc[0]
    found = {
        "attack": best.title,
        "auc": best.auc_mean,
        "auc_interval": [best.auc_low, best.auc_high],
        "tpr": best["tpr_at_fpr_0.01_mean"],
        "tpr_interval": [best["tpr_at_fpr_0.01_low"], best["tpr_at_fpr_0.01_high"]],
    }
    print(json.dumps(found))
