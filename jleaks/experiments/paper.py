"""The paper's experiments E1 to E18 (Salem et al., ML-Leaks, NDSS 2019, arXiv 1806.01246).

Importing this registers all of them, in the paper's order: each file needs the one before.  A figure that
was read in a source is "reported" and labelled S; one that was not read again is "about", "recalled" and
labelled m.

paper_shadows.py     E1 to E9: adversary 1 and its shadows
paper_transfers.py   E10 to E15: adversaries 2 and 3
paper_defences.py    E16 to E18: defended targets
"""

# For the entries that they register.
from jleaks.experiments import paper_defences, paper_shadows, paper_transfers  # noqa: F401
