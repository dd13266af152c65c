"""Errors in what the user gave: the job and the spec do not fit together, and only their author can fix that."""

from __future__ import annotations


class RefusedError(ValueError):
    """The job and the spec do not fit together. The message says what to change; exit code 2, never retried."""


class CallbackError(RefusedError):
    """`Job.callbacks` did not return callbacks."""


class DataError(RefusedError):
    """The job's dataset cannot be trained on. The message says what is wrong and what to do."""


class LearningRateError(RefusedError):
    """The spec sets a learning rate, but this job's optimizer cannot take one."""


class NoLossError(RefusedError):
    """The model's `train_step` did not return a dict with a `loss`."""


class OtherStateError(RefusedError):
    """The training step uses state that the model does not hold, which snapshots would lack."""


class RoundError(RefusedError):
    """A callback changed the training state where the replicas have parted for some steps."""


class NotCompiledError(RefusedError):
    """The job's model has no loss and no optimizer."""


class OwnLoopError(RefusedError):
    """The model's class has a training loop of its own, which no mode calls."""


class StatefulLayerError(RefusedError):
    """A layer of the model keeps a state per row of its batches, which several workers would mix up."""


class TargetsError(RefusedError):
    """The dataset does not have the targets that the compiled loss needs."""


class UnknownMetricError(RefusedError):
    """The spec's target names a metric that the evaluation of this model does not report."""


class UnsupportedOptimizerError(RefusedError):
    """The optimizer has a setting that does not work with several replicas."""


class UnsupportedGradientError(RefusedError):
    """A gradient of the model cannot be combined over workers. The message names it and says what to do."""


class ProfileError(RefusedError):
    """The straggler profile cannot be parsed. The message says what would be allowed."""


DIVERGED = "the workers' steps exchange gradients of different sizes"
"""Part of the message if workers exchange values of different sizes, which is no fault of a machine."""

BROKEN_OFF = "the exchange of gradients broke off"
"""Part of the message of every error that another worker caused."""

DIFFERENT_SHAPES = "batches of different shapes"
"""Marks an error of TensorFlow's, in training, as a refusal of ours, whose words begin with an element's name."""
