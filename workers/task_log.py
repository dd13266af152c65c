"""What Regatta itself says in a task's log, between what TensorFlow and the user's code say."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    print(f"regatta: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the task's log
