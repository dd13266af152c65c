"""What a mode is: one way of combining replicas, on one task of a group.

A mode builds the job's model under its strategy, runs k fused steps per call, and moves its whole state in and
out as a `Snapshot`. It is all the training loop (`workers.training.loop`) knows of TensorFlow's strategies.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from jobs.api import Job
from workers.messages import Assignment
from workers.modes.registry import traits
from workers.snapshot import Snapshot

if TYPE_CHECKING:
    import keras

    from workers.news import FloatArray, IntArray


class Consult(IntEnum):
    """How often the leader's callbacks decide."""

    NEVER = 0
    EPOCHS = 1
    CALLS = 2


@dataclass(frozen=True)
class Decision:
    """What the leader wants of the next call; a mode makes every replica obey it at the same step."""

    steps: int = 1
    stop: bool = False
    learning_rate: float | None = None
    rewritten: bool = False
    """The leader has a new state, which every replica is to adopt."""
    consult: Consult = Consult.NEVER
    """Read once, when a leg begins."""


@dataclass(frozen=True)
class Call:
    """The outcome of one call of fused steps."""

    worker: int
    steps: IntArray
    """Number of each update within the run, from 1."""
    logs: FloatArray
    """What each step logged: shape (steps, names), `loss` first."""
    started: float
    ended: float
    """Monotonic seconds on this process' clock."""
    staleness: FloatArray | None = None
    busy: float | None = None
    """Seconds the worker itself spent on the call; async: without the way to the chief and back."""
    input_wait: float | None = None
    """Of these, waiting for the next batch."""
    communication: float | None = None
    """Of these, in collectives. Null where TensorFlow does not let one see it, as everywhere here."""


@dataclass
class Timed:
    seconds: float = 0.0


@dataclass
class Phases:
    """Seconds spent per phase in this process, summed."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, phase: str, seconds: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds

    @contextmanager
    def timed(self, phase: str) -> Iterator[Timed]:
        """Add the time spent inside to `phase`; what is yielded holds it afterwards."""
        timed, begun = Timed(), time.monotonic()
        try:
            yield timed
        finally:
            timed.seconds = time.monotonic() - begun
            self.add(phase, timed.seconds)


class Mode(Protocol):
    """One way of combining replicas, on one task of a group."""

    leads: bool
    """Whether this task reports losses and takes snapshots (`worker:0` in sync, `chief:0` in async)."""
    batches_per_step: int
    """Batches that make one counted step: all replicas' in sync, one in async."""
    step: int
    """Updates made in this leg, as far as this task knows."""
    model: keras.Model
    log_names: tuple[str, ...]
    doubled_updates: int
    shares: tuple[int, ...]
    """Samples of each step by worker, where they differ by request; empty else."""

    def build(self) -> None:
        """Strategy, model, optimizer and data of the first leg; compiles the step without taking one."""

    def scale_schedule(self, factor: float) -> None:
        """From the next leg on, the optimizer's learning-rate schedule, if it follows one, gives `factor` times its
        own rates. Every task must call it."""

    def begin(self, start: Snapshot, seed: int) -> None:
        """Load `start` everywhere and open fresh data for `seed`; every task returns when all are ready."""

    def advance(self, proposal: Decision, boundary: int, total: int) -> tuple[Sequence[Call], Decision]:
        """Run one call. Sync stops at step `boundary` exactly; async may pass it, never `total`.

        Returns what was completed, and the decision that holds for the call after.
        """

    def agree(self, wish: Decision) -> Decision:
        """A call of no steps: when it returns, the leader's wish holds on every replica. Nothing is in flight."""

    def adopt(self, start: Snapshot | None) -> None:
        """Put every replica into the leader's `start`; the others give None."""

    def drain(self) -> Sequence[Call]:
        """Wait for whatever is still in flight."""

    def snapshot(self, clock: float) -> Snapshot:
        """The whole state now. Sync: every task must call it, only the leader's counts."""


def make_mode(assignment: Assignment, job: Job) -> Mode:
    module, _, name = traits(assignment.settings.mode).implementation.partition(":")
    mode: Mode = getattr(import_module(module), name)(assignment, job)
    return mode
