"""The supervisor of a task's process, and the zygote it is forked from. Never imports TensorFlow, so always answers."""
