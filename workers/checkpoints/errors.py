"""Errors of writing and reading checkpoints; every message is one paragraph for users."""

from __future__ import annotations


class CheckpointError(Exception):
    """Checkpoints cannot be written or read."""


class DamagedError(CheckpointError):
    """A checkpoint does not match its manifest; the message says where."""


class FencedError(CheckpointError):
    """A later attempt of the run has taken over, so this attempt must stop writing."""
