"""The training loop, the same for every mode, and what happens around it."""
