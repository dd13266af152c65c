"""The process of one task: takes commands from its supervisor and sends events back.

A task has one of three roles. A *trainer* (every sync worker, the async chief) trains legs; a *server* (async worker,
ps) lends its devices to the chief; the *evaluator* scores snapshots. Any error is sent as a `TaskFailure`.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from jobs.api import Job, TaskContext
from jobs.staged import home_of
from workers.failures import describe
from workers.messages import Assignment, FitEnded, Printed
from workers.modes.registry import traits
from workers.session import keep_log, log, say
from workers.settings import ReplicaSettings
from workers.task.output import send_output
from workers.task.waiting import say_if_late
from workers.wire import AddressReleased, Preempted, Ready, ReleaseAddress, StopLeg


class Wire:
    """Both directions of the control socket. This process ends when the supervisor's end closes."""

    def __init__(self, descriptor: int) -> None:
        self._connection: Any = Connection(descriptor)
        self._lock = threading.Lock()
        self.commands: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.on_stop: Callable[[str, int], None] = lambda _reason, _leg: None
        self.ready: Callable[[], None] = lambda: None
        self.assignment: Assignment = self._connection.recv()
        threading.Thread(target=self._listen, name="regatta-commands", daemon=True).start()

    def send(self, event: Any) -> None:
        if isinstance(event, Ready):
            self.ready()
        with self._lock:
            self._connection.send(event)

    def _listen(self) -> None:
        while True:
            try:
                command = self._connection.recv()
            except (EOFError, OSError):
                os._exit(0)  # the supervisor has ended
            if isinstance(command, StopLeg):
                self.on_stop(command.reason, command.leg)
            else:
                self.commands.put(command)


def main(descriptor: int) -> int:
    """Run the task whose control socket is `descriptor`; returns its exit code."""
    wire = Wire(descriptor)
    _report_sigterm(wire)
    sys.argv = [f"regatta {wire.assignment.task}"]
    keep_log()
    try:
        _run(wire)
    except BaseException as error:  # noqa: BLE001 - reported to the driver as data
        failure = describe(error, wire.assignment)
        log(failure.traceback or failure.summary)
        wire.send(failure)
        return 1
    return 0


def _report_sigterm(wire: Wire) -> None:
    """Report SIGTERM as a preemption; training continues until the driver stops the leg and its checkpoint is written.

    While the main thread is inside a call of TensorFlow, it runs no signal handler. So a thread reads the signal's
    number from a pipe, to which Python's C-level handler writes it at once.
    """

    def listen() -> None:
        while received := os.read(reader, 1):
            if received[0] == signal.SIGTERM:
                wire.send(Preempted())

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    _ignore_sigterm()
    threading.Thread(target=listen, name="regatta-preemption", daemon=True).start()
    # Processes that the job forks end on SIGTERM, as usual.
    os.register_at_fork(after_in_child=_restore_sigterm)


def _ignore_sigterm() -> None:
    """Install a handler that does nothing. TensorFlow's coordination service replaces it when it starts."""
    signal.signal(signal.SIGTERM, lambda *_: None)


def _restore_sigterm() -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run(wire: Wire) -> None:
    from workers.task.runtime import configure_tensorflow

    assignment = wire.assignment
    configure_tensorflow(assignment)
    wire.ready = say_if_late(assignment, wire.send)
    if assignment.task.type == "evaluator":
        _evaluate(wire)
    elif traits(assignment.settings.mode).serves(assignment.task):
        _serve(wire)
    else:
        _train(wire)


def _train(wire: Wire) -> None:
    from workers.modes.mode import make_mode
    from workers.training.loop import train
    from workers.training.trainer import Trainer

    job = _load_job(wire.assignment.settings)
    mode = make_mode(wire.assignment, job)
    _begin_task(wire, job, leads=mode.leads)
    if mode.leads and job.shows_output:
        send_output(wire.send, lambda: not job.shows_output)
    trainer = Trainer(wire.assignment, job, mode, wire.send)
    wire.on_stop = trainer.request_stop
    _release_address(wire)
    trainer.prepare()
    _ignore_sigterm()
    wire.send(Ready())
    for command in _commands(wire):
        train(trainer, command.leg, command.snapshot)
        wire.send(Ready())


def _evaluate(wire: Wire) -> None:
    from workers.training.evaluator import Evaluator

    job = _load_job(wire.assignment.settings)
    _begin_task(wire, job)
    evaluator = Evaluator(wire.assignment, job)
    evaluator.prepare()
    wire.send(Ready())
    for command in _commands(wire):
        wire.send(evaluator.score(command.stamp, command.snapshot))


def _serve(wire: Wire) -> None:
    import tensorflow as tf

    from workers.modes.store_link import can_share
    from workers.modes.store_worker import serve
    from workers.task.runtime import inter_op_threads, session_settings

    assignment = wire.assignment
    settings = session_settings(assignment)
    settings.device_count["CPU"] = assignment.settings.devices_per_replica
    settings.inter_op_parallelism_threads = inter_op_threads()
    _release_address(wire)
    tf.distribute.Server(
        dict(assignment.tf_config["cluster"]),
        job_name=assignment.task.type,
        task_index=assignment.task.index,
        protocol="grpc",
        config=settings,
    )
    wire.send(Ready())
    if can_share(assignment):
        serve(assignment, lambda: _begun(wire))
    threading.Event().wait()  # a TensorFlow server cannot be stopped; it ends with its process


def _begun(wire: Wire) -> Job:
    job = _load_job(wire.assignment.settings)
    _begin_task(wire, job)
    return job


def _commands(wire: Wire) -> Iterator[Any]:
    while True:
        yield wire.commands.get()


def _release_address(wire: Wire) -> None:
    wire.send(ReleaseAddress())
    if not isinstance(wire.commands.get(), AddressReleased):
        raise RuntimeError("a command arrived before the address was released")


def _load_job(settings: ReplicaSettings) -> Job:
    from jobs.loading import load_job_class, validate_params
    from workers.model.process_state import guarded, kept

    with kept("the job's file"):
        job_class = load_job_class(settings.job, settings.directory)
        job = job_class(validate_params(job_class, settings.params))
    return guarded(job)


def _begin_task(wire: Wire, job: Job, *, leads: bool = False) -> None:
    from workers.training.ended_fit import StoredFit, to_bytes

    settings = wire.assignment.settings
    job.begin_task(
        TaskContext(
            home_of(settings.job, settings.directory),
            settings.seed,
            leads=leads,
            files_apart=settings.files_apart,
            tell=lambda text: wire.send(Printed(f"regatta: {text}\n")) if leads else None,
            log=say,
            earlier_fits=[StoredFit(number, content) for number, content in enumerate(wire.assignment.earlier_fits, 1)],
            end_fit=(lambda *left: wire.send(FitEnded(to_bytes(*left)))) if settings.ends_at_fit else None,
        )
    )


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
