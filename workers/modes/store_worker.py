"""A worker whose group shares its state in memory: it takes calls of k steps from the chief, and takes them itself."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

from jobs.api import Job
from workers.data.stream import checked, first_batch, training_stream
from workers.errors import DataError
from workers.messages import Assignment, Position
from workers.model.learning_rate import scale_schedule
from workers.model.step import TrainStep, make_model
from workers.modes.registry import traits
from workers.modes.step_timer import StepTimer
from workers.modes.store import Store
from workers.modes.store_link import Hello, Open, Opened, Refused, Run, Shared, Traced, connected, line
from workers.modes.store_steps import NotStored, StoreSteps, layout_of


def serve(assignment: Assignment, job: Callable[[], Job]) -> None:
    """Serve the chief until it closes the line: when it has gone, or keeps the weights on parameter servers instead.

    `job` loads the job, which a parameter server has no need of.
    """
    end = connected(assignment)
    with contextlib.suppress(EOFError, ConnectionError):
        if assignment.task.type == "worker":
            _Worker(assignment, job(), end).serve()
        else:
            waiting = line(end)
            waiting.send(Hello(assignment.task))
            waiting.recv()


class _Worker:
    """The model of one worker, and its end of the line."""

    def __init__(self, assignment: Assignment, job: Job, end: socket.socket) -> None:
        self._assignment = assignment
        self._settings = assignment.settings
        self._index = assignment.task.index
        self._workers = len(assignment.tf_config["cluster"]["worker"])
        self._job = job
        self._end = end
        self._line: Any = None

    def serve(self) -> None:
        self._line = line(self._end.dup())
        self._line.send(Hello(self._assignment.task))
        seed = self._settings.seed
        iterator = self._iterate(seed, ())
        model = make_model(self._job, seed, first_batch(self._stream(seed, ()), "train_dataset"))
        shared: Shared = self._line.recv()
        _, (descriptor,), _, _ = socket.recv_fds(self._end, 1, 1)
        train_step = TrainStep(model)
        try:
            if layout_of(model) != shared.layout:
                raise NotStored("its variables differ from process to process")
            store = Store(descriptor, shared.layout)
            timer = StepTimer(self._settings.monitor)
            steps = StoreSteps(model, train_step, store, timer, traits(self._settings.mode).load().weigh)
            with train_step.traced():
                steps.trace(iterator)
        except NotStored as why:
            self._line.send(Refused(str(why)))
            return
        self._line.send(Traced(train_step.names))
        while True:
            match self._line.recv():
                case Open(seed, position, scale):
                    if scale_schedule(model, scale):
                        steps.compile()
                    iterator = self._iterate(seed, position)
                    steps.trace(iterator)
                    self._line.send(Opened())
                case Run(number):
                    self._line.send(self._taken(steps, iterator, number))

    def _taken(self, steps: StoreSteps, iterator: Any, number: int) -> Any:
        import tensorflow as tf

        try:
            return steps(iterator, number)
        except tf.errors.OutOfRangeError as error:
            if "End of sequence" not in str(error):
                raise
            raise DataError(
                f"train_dataset has no samples for worker:{self._index}, or it ended: every worker needs at least one "
                "batch of its own. Give it as many files or shards as there are workers, or use --sharding data."
            ) from error

    def _iterate(self, seed: int, position: Position) -> Any:
        return iter(self._stream(seed, position))

    def _stream(self, seed: int, position: Position) -> Any:
        stream = training_stream(
            self._job,
            self._settings,
            seed=seed,
            num_shards=self._workers,
            shard_index=self._index,
            position=position,
        )
        return checked(stream, "train_dataset")
