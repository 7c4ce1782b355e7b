"""How fast shadow models are trained, beside JAX and PyTorch as people use them."""
