"""ART: the forest on digits, shadow models and a learned attack model, as its notebook shows them.

Needs adversarial-robustness-toolbox and scikit-learn.  The notebook's shadows have other records than the
target; here they are drawn from all records, as the other tools draw theirs.
"""

import json

import numpy as np
from art.attacks.inference.membership_inference import MembershipInferenceBlackBox, ShadowModels
from art.estimators.classification.scikitlearn import ScikitlearnRandomForestClassifier
from art.utils import to_categorical
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score, roc_curve

records, labels = load_digits(return_X_y=True)
member = np.random.default_rng(0).permutation(len(labels)) < len(labels) // 2
model = RandomForestClassifier(random_state=0).fit(records[member], labels[member])
target = ScikitlearnRandomForestClassifier(model)
shadows = ShadowModels(target, num_shadow_models=64, random_state=0)
inside, outside = shadows.generate_shadow_dataset(records, to_categorical(labels, 10))
(member_x, member_y, member_answers), (other_x, other_y, other_answers) = inside, outside
attack = MembershipInferenceBlackBox(target, attack_model_type="rf")
attack.fit(member_x, member_y, other_x, other_y, member_answers, other_answers)
scores = attack.infer(records, labels, probabilities=True).ravel()
auc = roc_auc_score(member, scores)
fpr, tpr, _ = roc_curve(member, scores)

# What is compared.
found = {"attack": "attack model, random forest", "auc": auc, "tpr": tpr[fpr <= 0.01].max()}
print(json.dumps(found))
