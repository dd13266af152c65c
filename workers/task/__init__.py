"""The process of a task, in which TensorFlow runs."""
