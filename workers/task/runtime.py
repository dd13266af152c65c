"""What a replica's process is set up with before TensorFlow does anything in it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from workers.messages import Assignment

if TYPE_CHECKING:
    import tensorflow as tf

# Clusters of operations instead of whole functions, because a step also holds what XLA cannot compile:
# collectives between workers, and reads and updates of variables on parameter servers.
_XLA_FLAGS = "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit"

_FEWEST_INTER_OP_THREADS = 2


def environment(assignment: Assignment) -> dict[str, str]:
    """Environment variables of the task's process, on top of what its supervisor has."""
    return {
        "TF_CONFIG": json.dumps(assignment.tf_config),
        "KERAS_BACKEND": "tensorflow",
        # A proxy between hosts breaks TensorFlow's gRPC.
        "no_grpc_proxy": "*",
        "PYTHONUNBUFFERED": "1",
        "REGATTA_TASK": str(assignment.task),
        **(_xla_flags() if assignment.settings.jit else {}),
        **assignment.secrets,
    }


def _xla_flags() -> dict[str, str]:
    return {"TF_XLA_FLAGS": f"{os.environ.get('TF_XLA_FLAGS', '')} {_XLA_FLAGS}".strip()}


def inter_op_threads() -> int:
    """As many as TensorFlow would make, one for each core that the process may use; but never a single one.

    An asynchronous server with one thread stops answering: a step waits for a message that this thread would have to
    send. Said in any case, as TensorFlow looks at the cores later, when somebody may have pinned the process.
    """
    return max(_FEWEST_INTER_OP_THREADS, len(os.sched_getaffinity(0)))


def session_settings(assignment: Assignment) -> tf.compat.v1.ConfigProto:
    """Of every task's process. Threads that have nothing to do sleep at once where a task has one core: spinning they
    would keep it from those that carry the messages they wait for (64-256-10 MLP, two workers: 1.06 to 1.13 times the
    steps/s)."""
    import tensorflow as tf

    settings = tf.compat.v1.ConfigProto()
    settings.experimental.disable_thread_spinning = assignment.cpus <= 1
    return settings


def configure_tensorflow(assignment: Assignment) -> None:
    """Settings that must precede TensorFlow's first operation in this process."""
    import keras
    import tensorflow as tf
    from tensorflow.python.eager import context

    # Read at import: wrong only if the user's own keras.json says otherwise.
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(f"Keras runs on {keras.backend.backend()}; set KERAS_BACKEND=tensorflow")
    keras.config.set_dtype_policy(assignment.settings.dtype_policy)
    threads = max(1, round(assignment.cpus))
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(inter_op_threads())
    # What TensorFlow begins its own settings with; it has no public name for this one.
    context.context()._config = session_settings(assignment)
    if assignment.gpus == 0:
        tf.config.set_visible_devices([], "GPU")
        if assignment.settings.devices_per_replica > 1:
            logical = [tf.config.LogicalDeviceConfiguration()] * assignment.settings.devices_per_replica
            tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], logical)
    for gpu in tf.config.get_visible_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
