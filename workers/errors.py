"""Errors that say: this job and this spec do not fit together, and only their author can mend them."""

from __future__ import annotations


class RefusedError(ValueError):
    """The job and the spec do not fit together; the message says what to change. Exit code 2, never retried."""


class CallbackError(RefusedError):
    """`Job.callbacks` did not return callbacks."""


class DataError(RefusedError):
    """A job's dataset cannot be trained on; the message says what is wrong and what to do."""


class LearningRateError(RefusedError):
    """The spec sets a learning rate that this job's optimizer cannot be given."""


class NoLossError(RefusedError):
    """The model's `train_step` did not return a dict with a `loss`."""


class NotCompiledError(RefusedError):
    """The job's model has no loss and no optimizer."""


class UnknownMetricError(RefusedError):
    """The spec's target names a metric that this model's evaluation does not report."""


class UnsupportedOptimizerError(RefusedError):
    """The optimizer has a setting that does not work with several replicas."""


class ProfileError(RefusedError):
    """A profile that cannot be read; the message says what would be allowed."""


BROKEN_OFF = "the exchange of gradients broke off"
"""In the message of every error whose reason is another worker."""
