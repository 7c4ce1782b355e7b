"""Kernels for host devices: what XLA:CPU computes slowly of training and of ranking, in C++.

`library` builds and loads them, `operations` has them as JAX functions.  Nothing else of jleaks needs
them: every one has a counterpart in XLA, to which tests hold it.
"""
