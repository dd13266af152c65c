"""What can be wrong with checkpoints; every message is a paragraph for a person."""

from __future__ import annotations


class CheckpointError(Exception):
    """Checkpoints cannot be written or read."""


class DamagedError(CheckpointError):
    """One checkpoint is not what its manifest says; the message says what is not."""


class FencedError(CheckpointError):
    """A later attempt of the run has taken over: this one must not write any more."""
