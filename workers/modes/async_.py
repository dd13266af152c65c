"""Asynchronous mode: each worker takes the weights as they are, and applies its gradients when it is ready.

The chief sends calls of k fused steps to free workers. The training state that they share is in memory, if all of them
are on one host and their model fits (`workers.modes.store_group`); otherwise it is on parameter servers
(`workers.modes.ps_group`).
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jobs.api import Job
from workers.messages import Assignment, Counts
from workers.modes.async_group import AsyncGroup
from workers.modes.gathering import Gathering
from workers.modes.mode import Call, Consult, Decision
from workers.modes.ps_group import PsGroup
from workers.modes.registry import traits
from workers.modes.store_group import store_group
from workers.snapshot import Snapshot
from workers.stragglers import Pace, pace_of

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from workers.news import FloatArray, IntArray


class AsyncMode:
    """The chief of an asynchronous worker group."""

    leads = True
    batches_per_step = 1
    round_steps = 1
    weigh: Callable[[tf.Tensor], tf.Tensor] | None = None
    """The factor on a gradient of a given staleness; None for 1."""
    shares = ()
    _group: AsyncGroup

    def __init__(self, assignment: Assignment, job: Job) -> None:
        self.step = 0
        self._settings = assignment.settings
        self._assignment = assignment
        self._job = job
        self._workers = len(assignment.tf_config["cluster"]["worker"])
        self._most_in_flight = traits(self._settings.mode).calls_in_flight * self._workers
        self._completed: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._in_flight = 0
        self._scheduled = 0
        self._paces: list[Pace | None] = []

    @property
    def log_names(self) -> tuple[str, ...]:
        return self._group.log_names

    @property
    def doubled_updates(self) -> int:
        """Updates applied but not reported: a worker died after applying one, and its call ran again."""
        return self._group.count - self.step

    @property
    def counts(self) -> Counts:
        return Counts(updates=self._group.count)

    def build(self) -> None:
        in_memory = store_group(self._assignment, self._job)
        self._group = in_memory or PsGroup(
            self._assignment,
            self._job,
            weigh=self.weigh,
            make_gathering=self._make_gathering,
            updates=self._updates,
        )
        self.model: keras.Model = self._group.model

    def scale_schedule(self, factor: float) -> None:
        self._group.scale_schedule(factor)

    def begin(self, start: Snapshot, seed: int) -> None:
        self._paces = [pace_of(self._settings.straggler, seed, worker) for worker in range(self._workers)]
        self.step = self._scheduled = start.step
        self._group.begin(start, seed)

    def advance(self, proposal: Decision, boundary: int, total: int) -> tuple[Sequence[Call], Decision]:
        # A second call in flight would be a step ahead of what callbacks decide after every batch.
        most = self._workers if proposal.consult >= Consult.BATCH_ENDS else self._most_in_flight
        while self._in_flight < most and self._scheduled < total:
            # An equal share of what is left, or one worker would take all of a short epoch while the others wait.
            steps = min(proposal.steps, -(-(total - self._scheduled) // self._workers))
            self._scheduled += steps
            self._schedule(steps)
        return self._collect(), proposal

    def agree(self, wish: Decision) -> Decision:
        if wish.learning_rate is not None:
            self._group.set_learning_rate(wish.learning_rate)
        return wish

    def adopt(self, start: Snapshot | None) -> None:
        if start is not None:
            self._group.write(start)

    def drain(self) -> Sequence[Call]:
        calls: list[Call] = []
        while self._in_flight:
            calls += self._collect()
        return calls

    def snapshot(self, clock: float) -> Snapshot:
        step, weights, optimizer = self._group.read()
        samples = step * self._settings.batch_size
        return Snapshot(step=step, samples=samples, clock=clock, weights=weights, optimizer=optimizer)

    def _make_gathering(self, group: PsGroup) -> Gathering | None:
        """Called when the model is built, and before a step is traced. Returns where gradients are gathered; None if
        each is an update."""
        return None

    def _updates(self, step: int) -> int:
        """Updates of the weights that `step` counted steps have made."""
        return step

    def _staleness(self, numbers: IntArray, reads: IntArray) -> FloatArray:
        """The staleness of updates with these numbers, which read the weights after so many updates."""
        return (numbers - 1 - reads).astype(np.float64)

    def _schedule(self, steps: int) -> None:
        """Have the next free worker take `steps` steps."""
        self._in_flight += 1
        self._group.schedule(lambda worker: self._execute(worker, steps))

    def _execute(self, worker: int, steps: int) -> None:
        """Run a call on `worker`, from the chief's thread for it.

        Results go to a queue, so that the chief receives them in order of completion and does not wait for a slow
        worker.
        """
        pace = self._paces[worker]
        started = time.monotonic()
        if pace is not None:
            time.sleep(sum(pace.seconds() for _ in range(steps)))
        slept = time.monotonic() - started
        outcome = self._group.run(worker, steps)
        self._ran(worker, outcome.reads)
        self._completed.put(
            Call(
                worker=worker,
                steps=outcome.numbers,
                logs=outcome.logs,
                started=started,
                ended=time.monotonic(),
                staleness=self._staleness(outcome.numbers, outcome.reads[:-1]),
                busy=None if outcome.busy is None else outcome.busy + slept,
                input_wait=outcome.input_wait,
            )
        )

    def _ran(self, worker: int, reads: IntArray) -> None:
        """`worker` has taken steps; `reads` are the updates applied when each read the weights, and after the last."""

    def _collect(self) -> list[Call]:
        """Wait for one call if any is in flight; returns it and all others that have completed."""
        if not self._in_flight:
            return []
        calls = [self._group.get(self._completed)]
        while not self._completed.empty():
            calls.append(self._completed.get())
        self._in_flight -= len(calls)
        self.step += sum(len(call.steps) for call in calls)
        return calls
