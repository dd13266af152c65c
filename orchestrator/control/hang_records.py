"""What `orchestrator.control.hangs` remembers of each task's process, and of the progress of tasks."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from workers.messages import Task

_REMEMBERED_CALLS = 300


@dataclass
class Vitals:
    """What is known about one task's process."""

    last_answer: float  # of its supervisor, or when the task was launched
    answered: bool = False
    process_state: str | None = None  # the letter in /proc
    cpu_readings: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=4096))
    """Times and CPU seconds."""


@dataclass
class Progress:
    """The progress of one or several tasks, all of which have to be alive for it."""

    tasks: tuple[Task, ...]
    since: float | None
    """Time of the last progress; None while no progress is expected."""
    in_first_call: bool = True
    """No call has ended yet: buffers fill, and graphs are placed."""
    call_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_CALLS))
    calls_of_others: int = 0  # completed since the last call of this one

    def made(self, now: float, call_seconds: float | None = None) -> None:
        self.since, self.calls_of_others = now, 0
        if call_seconds is not None:
            self.in_first_call = False
            self.call_seconds.append(call_seconds)

    def slowest_call(self) -> float:
        """The 99th percentile of call durations, in seconds."""
        ordered = sorted(self.call_seconds)
        return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))] if ordered else 0.0
