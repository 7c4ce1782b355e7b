"""Defences: what keeps a model from telling who its members are, each at a strength that is data.

defence.py    what a defence may change, and the registry of all: jleaks' and a user's alike
dropout.py    Salem et al. 2019, section VII-A
stacking.py   the same, section VII-B
training.py   label smoothing, confidence penalty, HAMP's training, weight decay, early stopping, RelaxLoss,
              mixup
hamp.py       HAMP's output step, alone and with its training
answers.py    temperature, rounding, top-k of the answers
selena.py     Tang et al. 2022: distilled from networks that did not see a record
memguard.py   Jia et al. 2019: answers about which an attack network of the defender's is undecided
preliminary.py  networks that a defence trains first
dpsgd.py      Abadi et al. 2016, by a stated noise or a target epsilon
"""

# For the entries that their modules register.
from jleaks.defences import (  # noqa: F401
    answers,
    dpsgd,
    dropout,
    hamp,
    memguard,
    selena,
    stacking,
    training,
)
