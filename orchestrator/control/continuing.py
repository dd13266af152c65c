"""What a leg leaves to the one that continues it in another mode."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.control.states import Training
from workers.messages import RESIZED, SWITCHED


def continued(training: Training) -> Training | None:
    """What is known of a run whose leg has ended to be continued in another mode; None after any other end.

    A target that was met, or a stop that was ordered, when the leg had no call left ends the next leg at once.
    """
    if training.finished is None or training.finished.stopped != SWITCHED:
        return None
    stopping = None if training.stopping == RESIZED else training.stopping  # the next group is made of all bundles
    if training.reached:
        stopping = stopping or "target"
    return replace(training, plan=None, finished=None, stopping=stopping)
