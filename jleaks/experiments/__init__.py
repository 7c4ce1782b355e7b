"""Every experiment of ML-Leaks (Salem et al. 2019), over one library of trained models.

>>> from jleaks.experiments import paper
>>> from jleaks.experiments.experiment import get_experiment, resolve
>>> resolve(["shadows", "E2"])
['E2', 'E6']
>>> get_experiment("E6").question
'What do more shadow models than one bring, and what do they cost?'
"""
