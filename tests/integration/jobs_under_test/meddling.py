"""Exact, with code that changes state of the whole process: `does` says what, and every method does it."""

import atexit
import gc
import io
import json
import locale
import logging
import multiprocessing
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import warnings

import keras
import numpy as np
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


def logs():
    """As a script configures its logs: handlers of others removed, a file and the terminal instead."""
    for handler in list(logging.root.handlers):
        logging.root.removeHandler(handler)
    logging.basicConfig(level=logging.DEBUG, force=True, handlers=[logging.NullHandler(), logging.StreamHandler()])
    logging.captureWarnings(True)
    logging.raiseExceptions = False


def silence():
    """Output turned off, as by a script that hides what libraries print."""
    sys.stdout = sys.stderr = io.StringIO()


def signals():
    """Handlers of the script's own, for what a terminal or a scheduler sends."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)


def strict():
    """Every warning and every inexact number is an error."""
    warnings.resetwarnings()
    warnings.simplefilter("error")
    np.seterr(all="raise")


def seeds():
    random.seed(3)
    np.random.seed(4)
    tf.random.set_seed(5)


def variables():
    os.environ.update(PYTHONPATH="/nowhere", HOME="/nowhere", TMPDIR="/nowhere", PATH="", TF_XLA_FLAGS="", no_proxy="")
    os.environ.pop("LD_LIBRARY_PATH", None)


def interpreter():
    os.umask(0o077)
    socket.setdefaulttimeout(0.001)
    sys.setrecursionlimit(5000)
    sys.excepthook = threading.excepthook = lambda *_: None
    gc.disable()
    locale.setlocale(locale.LC_ALL, "C")
    multiprocessing.set_start_method("spawn", force=True)
    atexit.register(lambda: os._exit(7))


def tensorflow():
    tf.config.optimizer.set_jit(False)
    tf.config.optimizer.set_experimental_options({"constant_folding": False})
    tf.debugging.set_log_device_placement(False)
    keras.config.disable_traceback_filtering()
    keras.config.disable_interactive_logging()


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
    "logs": logs,
    "silence": silence,
    "signals": signals,
    "strict": strict,
    "seeds": seeds,
    "variables": variables,
    "interpreter": interpreter,
    "tensorflow": tensorflow,
    "check_numerics": tf.debugging.enable_check_numerics,
    "determinism": tf.config.experimental.enable_op_determinism,
    "data_debug": tf.data.experimental.enable_debug_mode,
    "numpy_behavior": tf.experimental.numpy.experimental_enable_numpy_behavior,
    "strategy": lambda: tf.distribute.experimental_set_strategy(tf.distribute.OneDeviceStrategy("/cpu:0")),
    "seed": lambda: keras.utils.set_random_seed(5),
    "float64": lambda: keras.config.set_floatx("float64"),
}


class OldGraphs(Exact):
    def __init__(self, params=None):
        super().__init__(params)
        tf.compat.v1.disable_eager_execution()
