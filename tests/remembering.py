"""Models that remember as much as they are told to, in no time: what audits are tested on."""

import numpy as np

K = 4


def draw(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 5)), rng.integers(0, K, n)


class Model:
    """Answers by a record's own noise and, as far as it remembers, by its label if it was trained on it."""

    def __init__(self, data, memory):
        self.seen, self.memory = {row.tobytes() for row in data}, memory

    def posteriors(self, data, labels):
        found = []
        for row, label in zip(data, labels, strict=True):
            rng = np.random.default_rng(np.frombuffer(row.tobytes(), np.uint32))
            p = rng.dirichlet(np.ones(K))
            share = self.memory * (row.tobytes() in self.seen)
            found.append((1 - share) * p + share * np.eye(K)[label])
        return np.array(found)


def labels_of(data):
    """A function of the record, so that a model can know it."""
    return (np.abs(data[:, 0] * 1e4).astype(int)) % K


def fit(memory):
    def trained(data, labels, seed):
        del labels, seed
        return Model(data, memory)

    return trained


def predict(model, data):
    return model.posteriors(data, labels_of(data))
