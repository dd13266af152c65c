"""Chooses the TensorFlow strategy of a synchronous worker, by the number of workers and devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf


def synchronous_strategy(workers: int, devices_per_replica: int) -> tf.distribute.Strategy:
    """MultiWorkerMirroredStrategy for several workers, MirroredStrategy for one worker with several devices, and the
    default strategy for one device. If a model spreads over its worker's devices, the worker is one replica."""
    import tensorflow as tf

    spread = devices_per_replica > 1
    if workers > 1:
        return tf.distribute.MultiWorkerMirroredStrategy(_one_replica_each() if spread else None)
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    if len(devices) > 1 and not spread:
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


def _one_replica_each() -> tf.distribute.cluster_resolver.ClusterResolver:
    """A resolver of TF_CONFIG's cluster that reports one device per worker."""
    import tensorflow as tf

    class OneReplicaEach(tf.distribute.cluster_resolver.TFConfigClusterResolver):  # type: ignore[misc]
        def num_accelerators(self, *arguments: Any, **options: Any) -> dict[str, int]:
            found: dict[str, int] = super().num_accelerators(*arguments, **options)
            return {kind: min(1, count) for kind, count in found.items()}

    return OneReplicaEach()
