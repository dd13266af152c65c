"""A worker whose group shares its state in memory: it takes calls of k steps from the chief, and takes them itself."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

from jobs.api import Job
from workers.data.stream import checked, first_batch, training_stream
from workers.messages import Assignment, Position
from workers.model.learning_rate import scale_schedule
from workers.model.step import TrainStep, make_model
from workers.modes.async_group import endless
from workers.modes.registry import traits
from workers.modes.step_timer import StepTimer
from workers.modes.store import Layout, Store
from workers.modes.store_link import Hello, Open, Opened, Refused, Run, Shared, Traced, connected, line
from workers.modes.store_steps import NotStored, StoreSteps, layout_of


def serve(assignment: Assignment, job: Callable[[], Job]) -> None:
    """Serve the chief until it closes the line: when it has gone, or keeps the weights on parameter servers instead.

    `job` loads the job, which a parameter server has no need of.
    """
    end = connected(assignment)
    chief = _Chief(end)
    with contextlib.suppress(_Gone):
        chief.send(Hello(assignment.task))
        first = chief.receive()
        if isinstance(first, Shared):
            _Worker(assignment, job(), chief).serve(first.layout, chief.descriptor())


class _Gone(Exception):  # noqa: N818 - the chief's state, no error of the worker's
    """The chief has closed the line. An error of the job's own connections must not be taken for it."""


class _Chief:
    """The worker's end of the line."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._line = line(end.dup())

    def send(self, message: Any) -> None:
        with self._told():
            self._line.send(message)

    def receive(self) -> Any:
        with self._told():
            return self._line.recv()

    def descriptor(self) -> int:
        """That of the memory, which follows `Shared`."""
        with self._told():
            _, descriptors, _, _ = socket.recv_fds(self._end, 1, 1)
        if not descriptors:
            raise _Gone
        return descriptors[0]

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError) as error:
            raise _Gone from error


class _Worker:
    """The model of one worker. It is built when the chief has found that the state fits into memory."""

    def __init__(self, assignment: Assignment, job: Job, chief: _Chief) -> None:
        self._settings = assignment.settings
        self._index = assignment.task.index
        self._workers = len(assignment.tf_config["cluster"]["worker"])
        self._job = job
        self._chief = chief

    def serve(self, layout: Layout, descriptor: int) -> None:
        seed = self._settings.seed
        iterator = self._iterate(seed, ())
        model = make_model(self._job, seed, first_batch(self._stream(seed, ()), "train_dataset"))
        train_step = TrainStep(model)
        try:
            if layout_of(model) != layout:
                raise NotStored("its variables differ from process to process")
            store = Store(descriptor, layout)
            timer = StepTimer(self._settings.monitor)
            steps = StoreSteps(model, train_step, store, timer, traits(self._settings.mode).load().weigh)
            with train_step.traced():
                steps.trace(iterator)
        except NotStored as why:
            self._chief.send(Refused(str(why)))
            return
        self._chief.send(Traced(train_step.names))
        while True:
            match self._chief.receive():
                case Open(seed, position, scale):
                    if scale_schedule(model, scale):
                        steps.compile()
                    iterator = self._iterate(seed, position)
                    steps.trace(iterator)
                    self._chief.send(Opened())
                case Run(number):
                    self._chief.send(endless(self._index, steps, iterator, number))

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
