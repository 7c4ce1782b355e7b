"""Networks, forests and stacks of models, and the kernels that compute their layers."""
