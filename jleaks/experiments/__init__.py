"""Every experiment of ML-Leaks (Salem et al. 2019), over one library of trained models."""
