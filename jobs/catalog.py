"""The built-in jobs by name. Importing this module imports neither jobs nor TensorFlow nor pydantic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Entry(NamedTuple):
    """A built-in job."""

    class_path: str
    """`module:Class`, imported only when the job is used."""
    summary: str
    """One line for `regatta jobs`."""


CATALOG: Mapping[str, Entry] = {
    "digits": Entry("jobs.digits:Digits", "8x8 handwritten digits (shipped), 64-128-10 dense network, Adam"),
    "linear": Entry("jobs.linear:Linear", "a line through five points; the best fit is known in closed form"),
    "quadratic": Entry("jobs.quadratic:Quadratic", "regression on a noisy parabola, 10 tanh units, SGD"),
    "mnist-dnn": Entry("jobs.mnist_dnn:MnistDnn", "deep dense classifier; can reuse layers of an earlier run"),
    "mnist-cnn": Entry("jobs.mnist_cnn:MnistCnn", "small convolutional classifier; the compute-bound benchmark"),
    "fashion-mnist": Entry(
        "jobs.fashion_mnist:FashionMnist", "augmentation, decay, callbacks; loop=custom for a custom train_step"
    ),
    "cifar10-cnn": Entry("jobs.cifar10_cnn:Cifar10Cnn", "the classic small CIFAR-10 network; compares devices"),
    "two-stage": Entry("jobs.two_stage:TwoStage", "one model on two devices of each worker: model parallelism"),
    "resnet": Entry(
        "jobs.resnet:ResNet", "any keras.applications architecture, untrained; synthetic images or a folder"
    ),
}
