"""Regatta's own lines in a task's log, among the output of TensorFlow and the user's code."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Write one line to standard error, which goes to the task's log."""
    print(f"regatta: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the task's log
