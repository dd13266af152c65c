"""The Protocol of a mode, and the values that modes and the training loop exchange.

A mode builds the job's model under its strategy, runs k fused steps per call, and loads and returns its whole state as
a `Snapshot`. The training loop (`workers.training.loop`) deals with TensorFlow's strategies only through it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from jobs.api import Job
from workers.messages import Assignment, Counts
from workers.modes.registry import traits
from workers.snapshot import Snapshot

if TYPE_CHECKING:
    import keras

    from workers.news import FloatArray, IntArray


class Consult(IntEnum):
    """How often the leader's callbacks run: the larger values include the smaller ones."""

    NEVER = 0
    EPOCHS = 1
    CALLS = 2
    """After every call of fused steps."""
    BATCH_ENDS = 3
    """After every call, which has one step unless the spec says more."""
    BATCHES = 4
    """Before and after every such call."""


@dataclass(frozen=True)
class Decision:
    """What the leader wants from the next call. A mode applies it on every replica at the same step."""

    steps: int = 1
    stop: bool = False
    learning_rate: float | None = None
    rewritten: bool = False
    """The leader's callbacks changed its state, which every replica has to adopt."""
    begun: bool = False
    """The hooks that precede the next call's batches have run already, together with those after the call before."""
    consult: Consult = Consult.NEVER
    """Agreed on when a leg begins; a mode with several calls in flight keeps one per worker for `BATCH_ENDS`."""


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
    """Seconds that the worker itself spent on the call, without the way to a chief and back; None if not measured."""
    input_wait: float | None = None
    """Seconds of `busy` spent waiting for the next batch; None if not measured."""
    communication: float | None = None
    """Seconds of `busy` spent in collectives; None if not measured."""


@dataclass
class Timed:
    """Seconds that a phase took, known at its end."""

    seconds: float = 0.0


@dataclass
class Phases:
    """Sums the seconds that this process spends in each phase."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, phase: str, seconds: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds

    @contextmanager
    def timed(self, phase: str) -> Iterator[Timed]:
        """Add the time spent inside to `phase`; the yielded object has it afterwards."""
        timed, begun = Timed(), time.monotonic()
        try:
            yield timed
        finally:
            timed.seconds = time.monotonic() - begun
            self.add(phase, timed.seconds)


class Mode(Protocol):
    """One way of combining replicas, on one task of a group."""

    leads: bool
    """Whether this task reports losses and takes snapshots."""
    batches_per_step: int
    """Batches that one counted step consumes: one of every replica in lockstep modes, else one."""
    round_steps: int
    """Steps from one state that all replicas share to the next: 1 unless replicas part for some steps. Snapshots,
    epochs and stops wait for such a state."""
    step: int
    """Number of the latest update that this task knows of, counted since the run began."""
    model: keras.Model
    log_names: tuple[str, ...]
    """Names of the columns of `Call.logs`."""
    doubled_updates: int
    """Updates applied twice, because a worker died after applying one and its call ran again."""
    counts: Counts
    shares: tuple[int, ...]
    """Samples of each step by worker, if they differ (`balance`); else empty."""

    def build(self) -> None:
        """Create strategy, model, optimizer and data, and compile a step without taking one."""

    def scale_schedule(self, factor: float) -> None:
        """Multiply the rates of the optimizer's learning-rate schedule, if it has one, by `factor`. Every trainer
        calls it before a leg begins."""

    def begin(self, start: Snapshot, seed: int) -> None:
        """Load `start` on every replica, and open the data for `seed`. Every trainer returns when all are ready."""

    def advance(self, proposal: Decision, boundary: int, total: int) -> tuple[Sequence[Call], Decision]:
        """Run one call. Lockstep modes stop at step `boundary` exactly; others may pass it, but never `total`.

        Returns the completed calls, and the decision that holds for the next call.
        """

    def agree(self, wish: Decision) -> Decision:
        """Apply the leader's wish on every replica, without a step. Called by every trainer, with no call in flight."""

    def adopt(self, start: Snapshot | None) -> None:
        """Put every replica into the leader's state `start`. Called by every trainer; all but the leader pass None."""

    def drain(self) -> Sequence[Call]:
        """Wait for all calls in flight and return them."""

    def snapshot(self, clock: float) -> Snapshot:
        """The whole state now, at `clock` seconds of training. Called by the leader only."""


def make_mode(assignment: Assignment, job: Job) -> Mode:
    """Create the mode of `assignment` for its task."""
    mode: Mode = traits(assignment.settings.mode).load()(assignment, job)
    return mode
