"""How fast training is on one accelerator, and how far from what the device allows."""
