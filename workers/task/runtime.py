"""Settings of a task's process: environment variables, threads, devices and dtype policy."""

from __future__ import annotations

import json
import logging
import os
import warnings
from itertools import chain
from typing import TYPE_CHECKING

from jobs.loading import is_script
from workers.addresses import split
from workers.messages import Assignment
from workers.model.process_state import protect

if TYPE_CHECKING:
    import tensorflow as tf

# Auto-clustering instead of compiling whole functions, because XLA cannot compile all of a step: not collectives
# between workers, and not reads and updates of variables on parameter servers.
_XLA_FLAGS = "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit"

# Where the processor has AVX-512, TensorFlow allocates through oneDNN, which gives nothing back: each task would keep
# the room of one copy of a script's largest array, which tf.data makes for a moment (measured: 400 MB of 400).
_GIVES_BACK = {"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1"}

_FEWEST_INTER_OP_THREADS = 2


def environment(assignment: Assignment) -> dict[str, str]:
    """Environment variables of the task's process, in addition to its supervisor's."""
    return {
        "TF_CONFIG": json.dumps(assignment.tf_config),
        "no_grpc_proxy": _without_proxy(assignment),
        "PYTHONUNBUFFERED": "1",
        "REGATTA_TASK": str(assignment.task),
        **(_xla_flags() if assignment.settings.jit else {}),
        **(_GIVES_BACK if is_script(assignment.settings.job, assignment.settings.directory) else {}),
        **assignment.secrets,
    }


def _without_proxy(assignment: Assignment) -> str:
    """Hosts that gRPC connects to directly, because a proxy between tasks breaks TensorFlow.

    gRPC reads this variable instead of `no_proxy`, so what the site excludes is part of it. It compares names by their
    ends and addresses by CIDR blocks, and knows no `*`.
    """
    given = os.environ.get("no_grpc_proxy") or os.environ.get("no_proxy") or ""  # noqa: SIM112 - gRPC's spelling
    site = [host.strip() for host in given.split(",")]
    addresses = chain.from_iterable(assignment.tf_config.get("cluster", {}).values())
    hosts = (split(address)[0] for address in addresses)
    return ",".join(dict.fromkeys([*filter(None, site), "0.0.0.0/0", "::/0", *hosts]))


def _xla_flags() -> dict[str, str]:
    return {"TF_XLA_FLAGS": f"{os.environ.get('TF_XLA_FLAGS', '')} {_XLA_FLAGS}".strip()}


def inter_op_threads() -> int:
    """Number of inter-op threads: one for each core that the process may use, as TensorFlow does, but at least two.

    An asynchronous server with one thread stops answering: a step waits for a message that this thread would have to
    send. The number is always set, because TensorFlow counts the cores later, when the process may have been pinned.
    """
    return max(_FEWEST_INTER_OP_THREADS, len(os.sched_getaffinity(0)))


def session_settings(assignment: Assignment) -> tf.compat.v1.ConfigProto:
    """TensorFlow's session settings for every task's process.

    On a task with one core, idle threads sleep at once: spinning, they would take the core from the threads that carry
    the messages they wait for (64-256-10 MLP, two workers: 1.06 to 1.13 times the steps/s).
    """
    import tensorflow as tf

    settings = tf.compat.v1.ConfigProto()
    settings.experimental.disable_thread_spinning = assignment.cpus <= 1
    return settings


def configure_tensorflow(assignment: Assignment) -> None:
    """Apply the settings that must precede TensorFlow's first operation in this process."""
    import keras
    import tensorflow as tf
    from tensorflow.python.eager import context

    # Keras chose it at import; it can only be another one if the user's own keras.json says so.
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(f"Keras runs on {keras.backend.backend()}; set KERAS_BACKEND=tensorflow")
    if assignment.settings.mixed_precision:  # else Keras' own, which follows what the job sets with `set_floatx`
        keras.config.set_dtype_policy(assignment.settings.dtype_policy)
    threads = max(1, round(assignment.cpus))
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(inter_op_threads())
    # TensorFlow starts its own settings from this one; it has no public name.
    context.context()._config = session_settings(assignment)
    if assignment.gpus == 0:
        tf.config.set_visible_devices([], "GPU")
        if assignment.settings.devices_per_replica > 1:
            logical = [tf.config.LogicalDeviceConfiguration()] * assignment.settings.devices_per_replica
            tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], logical)
    for gpu in tf.config.get_visible_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    _silence()
    protect()


_ON_PURPOSE = (
    "method is invoked without using `ClusterCoordinator.schedule`",
    "To make it possible to preserve tf.data",
)
"""Parts of warnings of what Regatta does on purpose: users who read them look for a mistake of theirs."""


def _silence() -> None:
    """Keep the warnings that no user can act on out of the task's log."""
    logging.getLogger("tensorflow").addFilter(lambda record: _ON_PURPOSE[0] not in record.getMessage())
    warnings.filterwarnings("ignore", message=_ON_PURPOSE[1])
