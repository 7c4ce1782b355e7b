"""Audits a PyTorch network on scikit-learn's breast cancer data.

python examples/audit_torch.py [FOLDER]      a minute or two on two cores; needs torch
"""

import sys

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer

import jleaks


def fit(records, labels, seed):
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    x, y = torch.tensor(records, dtype=torch.float32), torch.tensor(labels)
    mean, std = x.mean(0), x.std(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], 64), torch.nn.ReLU(), torch.nn.Linear(64, 2)
    )
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net((x - mean) / std), y).backward()
        optimizer.step()
    return net, mean, std


def predict(model, records):
    net, mean, std = model
    with torch.no_grad():
        logits = net((torch.tensor(records, dtype=torch.float32) - mean) / std)
    # In float64, posteriors near one are told apart for longer.
    return torch.softmax(logits.double(), 1)


if __name__ == "__main__":
    records, labels = load_breast_cancer(return_X_y=True)
    trained_on = np.random.default_rng(0).permutation(len(labels)) < len(labels) // 2
    report = jleaks.audit(
        records, labels, trained_on, fit=fit, predict=predict, num_shadows=64, tell=print
    )
    print(report.verdict)
    report.save(sys.argv[1] if len(sys.argv) > 1 else "audit")
