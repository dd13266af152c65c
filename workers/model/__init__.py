"""The job's Keras model: its training step, its optimizers, and its state as arrays."""
