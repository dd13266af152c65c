"""Exact, with code that changes state of the whole process: `does` says what, and every method does it."""

import json
import logging
import os
import signal
import sys
import tempfile

import keras
import tensorflow as tf
from exact import Exact
from keras.utils import clear_session


class Meddling(Exact):
    class Params(Exact.Params):
        does: str = ""
        rows: int = 512

    def _meddle(self):
        for name in filter(None, self.params.does.split(",")):
            DOES[name]()

    def build_model(self):
        self._meddle()
        return super().build_model()

    def train_dataset(self, context):
        self._meddle()
        return super().train_dataset(context)

    def eval_dataset(self, context):
        self._meddle()
        return super().eval_dataset(context)

    def callbacks(self):
        self._meddle()
        return [keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: self._meddle())]

    def after_training(self, model, directory):
        policies = {layer.dtype_policy.name for layer in model.layers}
        (directory / "notes.txt").write_text(" ".join(sorted(policies)))


def threads():
    tf.config.threading.set_intra_op_parallelism_threads(7)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def devices():
    cpu = tf.config.list_physical_devices("CPU")
    tf.config.set_visible_devices([], "GPU")
    tf.config.set_logical_device_configuration(cpu[0], [tf.config.LogicalDeviceConfiguration()] * 3)


def environment():
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": ["203.0.113.1:1"]}, "task": {"type": "worker"}})
    os.environ.update(no_grpc_proxy="")


def terminated():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def surroundings():
    os.chdir(tempfile.gettempdir())
    sys.argv = ["train.py", "--epochs", "3"]
    logging.disable(logging.CRITICAL)
    tf.get_logger().setLevel("ERROR")


DOES = {
    "clear": clear_session,
    "graph": tf.compat.v1.reset_default_graph,
    "eager": lambda: tf.config.run_functions_eagerly(True),
    "placement": lambda: tf.config.set_soft_device_placement(False),
    "threads": threads,
    "devices": devices,
    "environment": environment,
    "terminated": terminated,
    "surroundings": surroundings,
    "seed": lambda: keras.utils.set_random_seed(5),
    "float64": lambda: keras.config.set_floatx("float64"),
}


class OldGraphs(Exact):
    def __init__(self, params=None):
        super().__init__(params)
        tf.compat.v1.disable_eager_execution()
