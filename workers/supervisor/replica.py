"""The supervisor of a replica: a plain class that holds one task's address, process, log and news.

It runs in a Ray actor, or in the driver for the local backend. It never imports TensorFlow, so it answers while the
task's process computes, hangs or is stopped. See docs/adr/0001-supervised-processes.md.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from jobs.staged import home_of
from workers.addresses import Reservation, join, unreachable
from workers.masking import Mask
from workers.messages import Assignment, FailureKind, Leg, Task, TaskFailure
from workers.news import Evaluation, LegFinished, LegStarted, News, ReplicaState, ReplicaStatus, SnapshotReady, Stamp
from workers.session import python_environment, session_directory
from workers.snapshot import Snapshot
from workers.supervisor import process as processes
from workers.supervisor.checkpoint_keeper import CheckpointKeeper
from workers.supervisor.log import TaskLog
from workers.task.runtime import environment
from workers.telemetry.interfaces import address_on, interfaces, reachable_from_outside
from workers.telemetry.oom import OomEvidence
from workers.telemetry.sampler import Sampler
from workers.telemetry.vitals import vitals
from workers.wire import AddressReleased, Preempted, Ready, ReleaseAddress, Score, SnapshotTaken, StopLeg, Train


class Replica:
    """Supervises one task. Every method returns at once, except `unreachable` and `stop`, which wait for others."""

    def __init__(self, task: Task, session: str, host: str = "127.0.0.1", interface: str | None = None) -> None:
        self._task = task
        self._session = session
        self._host = host
        self._interface = interface
        self._lock = threading.Lock()
        self._state = ReplicaState.RESERVED
        self._news: list[News] = []
        self._snapshots: dict[Stamp, Snapshot] = {}
        self._failure: TaskFailure | None = None
        self._preempted = False
        self._leg: Leg | None = None
        self._checkpoints = CheckpointKeeper(self._report, self._fenced)
        self._process: processes.Process | None = None
        self._sampler = Sampler(self._pid)
        self._oom_evidence = OomEvidence()
        self._stopping = False
        self._reservation: Reservation | None = None
        self._log: TaskLog | None = None
        self._mask = Mask({})

    def reserve(self) -> str:
        """Hold a port on this host; returns the `host:port` at which peers will reach this task."""
        host = address_on(self._interface, interfaces()) if self._interface else self._host
        self._reservation = Reservation(host)
        return self._reservation.address

    def other_addresses(self) -> tuple[str, ...]:
        """The reserved port on this host's other interfaces, through which peers might reach it as well."""
        if self._reservation is None:
            return ()
        held = self._reservation
        addresses = (join(host, held.port) for host in reachable_from_outside(interfaces()))
        return tuple(address for address in addresses if address != held.address)

    def unreachable(self, addresses: Sequence[str]) -> tuple[str, ...]:
        """Return the `addresses` of peers that this host cannot connect to. Takes seconds if there are any."""
        return unreachable(addresses)

    def start(self, assignment: Assignment) -> None:
        """Start the task's process. Later polls report what happens to it."""
        folder = session_directory(self._session)
        own_end, task_end = socket.socketpair()
        env = python_environment() | environment(assignment)
        self._mask = Mask(assignment.secrets)
        self._log = TaskLog(folder / f"{self._task.type}-{self._task.index}-{os.getpid()}-{id(self)}.log", self._mask)
        self._state = ReplicaState.STARTING
        try:
            with task_end:
                self._process = processes.start(
                    self._session,
                    env,
                    str(home_of(assignment.settings.job, assignment.settings.directory)),
                    task_end,
                    self._log.fileno(),
                    gpus=assignment.gpus,
                )
        except OSError as error:
            self._fail(FailureKind.INFRASTRUCTURE, f"its process could not be started: {error}")
            return
        self._oom_evidence.read(None)
        self._connection = Connection(own_end.detach())
        self._connection.send(assignment)
        threading.Thread(target=self._listen, name=f"regatta-{self._task}", daemon=True).start()
        if assignment.settings.monitor:
            self._sampler = Sampler(self._pid, interval=assignment.settings.sample_seconds)
            self._sampler.start()

    def train(self, leg: Leg, snapshot: Snapshot | None = None) -> None:
        """Train `leg`, from `snapshot` if this task leads and the leg starts from one."""
        self._state = ReplicaState.TRAINING
        self._leg = leg
        self._send(Train(leg, snapshot))

    def score(self, stamp: Stamp, snapshot: Snapshot) -> None:
        """Evaluate `snapshot`; for the evaluator only."""
        self._send(Score(stamp, snapshot))

    def scored(self, evaluation: Evaluation) -> None:
        """Receive the score of one of this task's snapshots, by which the best checkpoint is chosen."""
        self._checkpoints.scored(evaluation)

    def preempt(self) -> None:
        """Report with the next poll that this task's host is being taken back."""
        self._preempted = True

    def request_stop(self, reason: str, leg: int) -> None:
        """End leg number `leg` at its next call."""
        self._send(StopLeg(reason, leg))

    def take_snapshot(self, stamp: Stamp) -> Snapshot:
        """Hand over a snapshot that a status announced, and forget it."""
        with self._lock:
            return self._snapshots.pop(stamp)

    def poll(self) -> ReplicaStatus:
        """Return the task's state and everything that happened since the previous poll."""
        pid = self._pid()
        samples = self._sampler.drain()
        if samples:  # at most once a second: a reading takes a quarter of a millisecond
            self._oom_evidence.read(pid, samples)
        with self._lock:
            news, self._news = self._news, []
            ended = self._state in (ReplicaState.FAILED, ReplicaState.EXITED)
            return ReplicaStatus(
                task=self._task,
                state=self._state,
                news=(*news, *samples),
                failure=self._mask.failure(self._failure),
                pid=pid,
                log=self._log.new_bytes(ended=ended) if self._log else b"",
                preempted=self._preempted,
                vitals=vitals(pid),
            )

    def stop(self) -> None:
        """End the process and everything it started, and release the address."""
        self._stopping = True
        if self._reservation is not None:
            self._reservation.release()
        if self._process is not None:
            self._process.kill()
            self._process.wait(5)
        self._sampler.stop()
        self._checkpoints.close()

    def _pid(self) -> int | None:
        return self._process.pid if self._process else None

    def _listen(self) -> None:
        try:
            while True:
                self._handle(self._connection.recv())
        except (EOFError, OSError):
            self._report_exit()
        except Exception as error:  # noqa: BLE001 - reported, or polls would wait forever for a dead thread
            self._fail(FailureKind.INFRASTRUCTURE, f"a message from its process could not be read: {error!r}")

    def _handle(self, event: Any) -> None:
        match event:
            case ReleaseAddress():
                if self._reservation is not None:  # a replacement has none: it binds the lost task's port
                    self._reservation.release()
                self._send(AddressReleased())
            case Preempted():
                self.preempt()
            case TaskFailure():
                self._take_failure(event)
            case Ready():
                self._state = ReplicaState.READY
            case SnapshotTaken():
                if event.score:
                    with self._lock:
                        self._snapshots[event.stamp] = event.snapshot
                    self._report(SnapshotReady(event.stamp))
                self._checkpoints.take(event)
            case LegStarted() if self._leg is not None:
                self._checkpoints.begin(self._leg)
                self._report(event)
            case LegFinished():
                self._checkpoints.flush(event)
                self._report(event)
            case _:
                self._report(event)

    def _report(self, news: News) -> None:
        """Add `news` to the next poll's status. Thread-safe."""
        with self._lock:
            self._news.append(news)

    def _fenced(self, problem: str) -> None:
        """End the task: a later attempt has taken over the checkpoints."""
        self._fail(FailureKind.INFRASTRUCTURE, problem)
        if self._process is not None:
            self._process.kill()

    def _report_exit(self) -> None:
        process = self._process
        code = process.wait(10) if process else None
        if self._failure is None and not self._stopping:
            self._report_death(code)
        self._state = ReplicaState.FAILED if self._failure else ReplicaState.EXITED

    def _report_death(self, code: int | None) -> None:
        """Report a process that ended without sending a failure."""
        kill = self._oom_evidence.explain(code)
        if kill is None:
            self._fail(FailureKind.INFRASTRUCTURE, f"its process {_describe_exit(code)}")
            return
        kind = FailureKind.MEMORY if kill.out_of_memory else FailureKind.INFRASTRUCTURE
        self._fail(kind, f"its process {kill.summary}", kill.hint)

    def _fail(self, kind: FailureKind, summary: str, hint: str = "") -> None:
        self._take_failure(TaskFailure(self._task, kind, summary, hint=hint))

    def _take_failure(self, failure: TaskFailure) -> None:
        with self._lock:
            self._failure = failure
            self._state = ReplicaState.FAILED

    def _send(self, command: Any) -> None:
        with contextlib.suppress(OSError):  # the process has ended, which `poll` reports
            self._connection.send(command)


def _describe_exit(code: int | None) -> str:
    if code is None:
        return "closed its connection but did not end"
    if code < 0:
        known = -code in set(signal.Signals)
        return f"was killed by {signal.Signals(-code).name if known else f'signal {-code}'}"
    return f"ended with exit code {code}"
