"""What a run counted besides its steps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """Counts since a run began."""

    updates: int | None = None
    """How often the weights that all workers share were changed; None if that is not known."""
    dropped_gradients: int = 0
    """Gradients computed but in no update."""
    local_steps: int | None = None
    """Steps that workers took on weights of their own, all workers together; None if they never have such."""
