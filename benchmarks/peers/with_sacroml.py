"""SACRO-ML: the forest on digits, LiRA as its README shows it.

python with_sacroml.py offline|online-carlini      in an environment with sacroml; offline is its default
"""

import json
import sys

import numpy as np
from sacroml.attacks.likelihood_attack import LIRAAttack
from sacroml.attacks.target import Target
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

records, labels = load_digits(return_X_y=True)
member = np.random.default_rng(0).permutation(len(labels)) < len(labels) // 2
model = RandomForestClassifier(random_state=0).fit(records[member], labels[member])
target = Target(
    model=model,
    dataset_name="digits",
    X_train=records[member],
    y_train=labels[member],
    X_test=records[~member],
    y_test=labels[~member],
)
attack = LIRAAttack(n_shadow_models=64, mode=sys.argv[1], output_dir="audit")
attack.attack(target)

# What is compared: the report's AUC, and a point of its ROC curve.
(metrics,) = attack.attack_metrics
tpr = metrics["tpr"][metrics["fpr"] <= 0.01].max()
print(
    json.dumps({"attack": f"LiRA {sys.argv[1]}", "auc": float(metrics["AUC"]), "tpr": float(tpr)})
)
