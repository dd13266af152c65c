"""An asynchronous group on one host whose state is in memory: the chief's side.

The chief creates the memory, loads and reads the state in it, and has its workers take steps
(`workers.modes.store_workers`). It takes none itself.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from jobs.api import Job
from workers.data.stream import first_batch, training_stream
from workers.messages import Assignment
from workers.model import state
from workers.model.learning_rate import scale_schedule
from workers.model.optimizers import innermost, iterations, optimizers
from workers.model.step import make_model
from workers.modes.async_group import Outcome
from workers.modes.shared_memory import STOPPED, process_state
from workers.modes.store import Store
from workers.modes.store_link import Open, Refused, Run, Traced, can_share, listener
from workers.modes.store_steps import layout_of
from workers.modes.store_workers import StoreWorkers, start
from workers.modes.unsupported import refuse_unsupported
from workers.session import say
from workers.snapshot import Snapshot

if TYPE_CHECKING:
    import keras
    import numpy.typing as npt

_T = TypeVar("_T")
_MOST_BYTES = 1 << 28
"""Of memory for the state. Each update copies all of it in and out; larger models are for parameter servers."""
_STOPPED_SECONDS = 2.0


def store_group(assignment: Assignment, job: Job) -> StoreGroup | None:
    """The group of `assignment`, if its state can be in memory; else None, and its workers wait as servers."""
    if not can_share(assignment) or (listening := listener(assignment)) is None:
        return None
    group = StoreGroup(assignment, job, listening)
    why = group.refusal()
    say(
        f"{group.workers} workers on this host share their weights in memory"
        if why is None
        else f"the weights are on parameter servers: {why}"
    )
    return group if why is None else None


class StoreGroup:
    """Workers that share their state with this process, the chief."""

    def __init__(self, assignment: Assignment, job: Job, listening: socket.socket) -> None:
        settings = assignment.settings
        self.workers = len(assignment.tf_config["cluster"]["worker"])
        stream = training_stream(job, settings, seed=settings.seed, num_shards=self.workers, shard_index=0)
        self.model = make_model(job, settings.seed, first_batch(stream, "train_dataset"))
        refuse_unsupported(self.model, settings.mode, workers=self.workers, merges=True)
        self.log_names: tuple[str, ...] = ()
        self._layout = layout_of(self.model)
        self._listener = listening
        self._scale = 1.0

    def refusal(self) -> str | None:
        """Why the model's state cannot be in memory; None if it can, and every worker is ready to take steps."""
        if (size := self._layout.memory_size) > _MOST_BYTES:
            self._listener.close()  # before any worker builds what is not needed there
            return f"{size / 2**20:.0f} MiB of state would be copied with every update"
        self._store = Store.create(self._layout)
        self._workers = StoreWorkers(self._listener, self._store, self.workers)
        for _ in range(self.workers):
            match self._workers.get(self._workers.answers):
                case Traced(names):
                    self.log_names = names
                case Refused(why):
                    self._workers.close()
                    return why
        start("lock", partial(end_stopped_holders, self._store))
        return None

    @property
    def count(self) -> int:
        return self._store.count

    def scale_schedule(self, factor: float) -> None:
        self._scale = factor
        scale_schedule(self.model, factor)

    def begin(self, start: Snapshot, seed: int) -> None:
        self._write(start, start.step)
        self._workers.open(Open(seed, start.position, self._scale))

    def write(self, start: Snapshot) -> None:
        self._write(start, self.count)

    def set_learning_rate(self, rate: float) -> None:
        self.model.optimizer.learning_rate.assign(rate)
        position = self._position(innermost(self.model.optimizer)._learning_rate)
        with self._store.locked():
            arrays = self._store.read()
            arrays[position][...] = rate
            self._store.write(arrays, self._store.count)

    def read(self) -> tuple[int, tuple[npt.NDArray[Any], ...], tuple[npt.NDArray[Any], ...]]:
        with self._store.locked():
            count, arrays = self._store.count, tuple(self._store.read())
        for optimizer in optimizers(self.model):  # whose rate is reported
            iterations(optimizer).assign(arrays[self._position(iterations(optimizer))])
        weights = len(state.state_variables(self.model))
        return count, arrays[:weights], arrays[weights:]

    def schedule(self, function: Callable[[int], None]) -> None:
        self._workers.schedule(function)

    def run(self, worker: int, steps: int) -> Outcome:
        outcome: Outcome = self._workers.ask(worker, Run(steps))
        return outcome

    def get(self, source: queue.SimpleQueue[_T]) -> _T:
        return self._workers.get(source)

    def _position(self, variable: keras.Variable) -> int:
        """The place of a variable's array in the state."""
        variables = [*state.state_variables(self.model), *state.optimizer_variables(self.model)]
        return [id(each) for each in variables].index(id(variable))

    def _write(self, start: Snapshot, count: int) -> None:
        state.load(self.model, start)  # which checks that it fits
        now = state.read(self.model)
        with self._store.locked():
            self._store.write([*now.weights, *now.optimizer], count)


def end_stopped_holders(store: Store, seconds: float = _STOPPED_SECONDS) -> None:
    """Kill, for ever, processes that are stopped and hold the lock, for which all others would wait: those that were
    found so twice, `seconds` apart."""
    before = None
    while True:
        time.sleep(seconds)
        now = store.holder()
        state = process_state(now) if now and now == before else None
        if now and state is not None and state[0] in STOPPED:
            say(f"process {now}, which is stopped, holds the lock on the weights: killed")
            os.kill(now, signal.SIGKILL)
        before = now
