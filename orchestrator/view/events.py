"""What the events of a run tell someone who watches it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TOLD = {
    "failure": "{task}: {summary}",
    "restart": "all tasks are restarted, because of {task} ({failure})",
    "replace": "{task} is replaced ({failure})",
    "rejoined": "{task} trains again, from step {step}",
    "resized": "continues with {workers} workers",
    "switched": "switched to {to} at step {step}",
    "rollback": "back to step {step}",
    "checkpoint_failed": "no checkpoint at step {step}: {problem}",
    "note": "{text}",
}


def told_of(kind: str, task: str | None, details: Mapping[str, Any]) -> str | None:
    """A line about an event; None for one that is part of any run."""
    template = _TOLD.get(kind)
    try:
        return template.format(task=task, **details) if template is not None else None
    except (KeyError, TypeError):  # of another version
        return kind
