"""The user's Keras model: one training step, its optimizers, its state as arrays."""
