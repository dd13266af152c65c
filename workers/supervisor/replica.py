"""A replica's supervisor: a plain class that holds one task's address, process, log and news.

It runs in the Ray actor (or in the driver, for the in-process group) and never imports TensorFlow, so that it
answers while the task's process computes, hangs or is stopped. See docs/adr/0001-supervised-processes.md.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections import defaultdict
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from workers.addresses import Reservation, join, unreachable
from workers.checkpoints.writer import Writer
from workers.masking import Mask
from workers.messages import (
    Assignment,
    CallTiming,
    CheckpointFailed,
    CheckpointWritten,
    Deciding,
    Evaluation,
    FailureKind,
    HostSample,
    Leg,
    LegFinished,
    LegStarted,
    ReplicaState,
    ReplicaStatus,
    Stamp,
    StepBatch,
    Task,
    TaskFailure,
)
from workers.session import python_environment, session_directory
from workers.snapshot import Snapshot
from workers.supervisor import process as processes
from workers.task.runtime import environment
from workers.telemetry.interfaces import address_on, interfaces, reachable_from_outside
from workers.telemetry.oom import MemoryWitness
from workers.telemetry.sampler import Sampler
from workers.telemetry.vitals import vitals
from workers.wire import AddressReleased, Preempted, Ready, ReleaseAddress, Score, SnapshotTaken, StopLeg, Train

LOG_BYTES_PER_POLL = 1 << 20
FLUSH_SECONDS = 120.0
"""How long the end of a leg may wait for its last checkpoint."""
_CLOSE_SECONDS = 8.0
"""How long the end of a task may wait for its best one; Ray ends the supervisor soon after."""


class Replica:
    """One task. Every method returns at once, except `unreachable` and `stop`, which wait for others."""

    def __init__(self, task: Task, session: str, host: str = "127.0.0.1", interface: str | None = None) -> None:
        self._task = task
        self._session = session
        self._host = host
        self._interface = interface
        self._lock = threading.Lock()
        self._state = ReplicaState.RESERVED
        self._news: defaultdict[type, list[Any]] = defaultdict(list)
        self._snapshots: dict[Stamp, Snapshot] = {}
        self._failure: TaskFailure | None = None
        self._preempted = False
        self._leg: Leg | None = None
        self._checkpoints: Writer | None = None
        """Of the leg under way, on the task that leads it."""
        self._process: processes.Process | None = None
        self._sampler = Sampler(self._pid)
        self._memory = MemoryWitness()
        self._stopping = False
        self._reservation: Reservation | None = None
        self._log_read = 0
        self._mask = Mask({})

    def reserve(self) -> str:
        """Hold a port on this host; returns `host:port`, where this task's peers will reach it."""
        host = address_on(self._interface, interfaces()) if self._interface else self._host
        self._reservation = Reservation(host)
        return self._reservation.address

    def other_addresses(self) -> tuple[str, ...]:
        """Where peers might reach the reserved port as well: this host's other interfaces."""
        if self._reservation is None:
            return ()
        held = self._reservation
        addresses = (join(host, held.port) for host in reachable_from_outside(interfaces()))
        return tuple(address for address in addresses if address != held.address)

    def unreachable(self, addresses: Sequence[str]) -> tuple[str, ...]:
        """Those of the peers' `addresses` that this host cannot connect to. Takes seconds if there are any."""
        return unreachable(addresses)

    def start(self, assignment: Assignment) -> None:
        """Start the task's process. What becomes of it is told by `poll`."""
        directory = session_directory(self._session)
        log = directory / f"{self._task.type}-{self._task.index}-{os.getpid()}-{id(self)}.log"
        mine, theirs = socket.socketpair()
        env = python_environment() | environment(assignment)
        self._mask = Mask(assignment.secrets)
        self._log = log.open("wb+")
        self._state = ReplicaState.STARTING
        try:
            with theirs:
                self._process = processes.start(
                    self._session,
                    env,
                    assignment.job.directory,
                    theirs,
                    self._log.fileno(),
                    gpus=assignment.gpus,
                )
        except OSError as error:
            self._fail(FailureKind.INFRASTRUCTURE, f"its process could not be started: {error}")
            return
        finally:
            log.unlink()  # the open descriptors keep it; nothing is left behind, whatever happens
        self._memory.look(None)
        self._connection = Connection(mine.detach())
        self._connection.send(assignment)
        threading.Thread(target=self._listen, name=f"regatta-{self._task}", daemon=True).start()
        if assignment.sample_seconds > 0:
            self._sampler = Sampler(self._pid, interval=assignment.sample_seconds)
            self._sampler.start()

    def train(self, leg: Leg, snapshot: Snapshot | None = None) -> None:
        self._state = ReplicaState.TRAINING
        self._leg = leg
        self._send(Train(leg, snapshot))

    def score(self, stamp: Stamp, snapshot: Snapshot) -> None:
        self._send(Score(stamp, snapshot))

    def scored(self, evaluation: Evaluation) -> None:
        """What became of a snapshot of this task's."""
        if self._checkpoints is not None:
            self._checkpoints.scored(evaluation)

    def preempt(self) -> None:
        """This task's machine is wanted back; `poll` tells."""
        self._preempted = True

    def request_stop(self, reason: str, leg: int) -> None:
        """End the leg of that number at its next call."""
        self._send(StopLeg(reason, leg))

    def take_snapshot(self, stamp: Stamp) -> Snapshot:
        """Hand over a snapshot announced in a status; it is forgotten here."""
        with self._lock:
            return self._snapshots.pop(stamp)

    def poll(self) -> ReplicaStatus:
        with self._lock:
            news, self._news = self._news, defaultdict(list)
            return ReplicaStatus(
                task=self._task,
                state=self._state,
                pid=self._pid(),
                leg_started=tuple(news[LegStarted]),
                batches=tuple(news[StepBatch]),
                snapshots=tuple(taken.stamp for taken in news[SnapshotTaken]),
                evaluations=tuple(news[Evaluation]),
                leg_finished=tuple(news[LegFinished]),
                samples=self._samples(),
                failure=self._mask.failure(self._failure),
                log=self._read_log(),
                timings=tuple(news[CallTiming]),
                deciding=tuple(news[Deciding]),
                checkpoints=tuple(news[CheckpointWritten]),
                preempted=self._preempted,
                vitals=vitals(self._pid()),
            )

    def stop(self) -> None:
        """End the process and everything it started, and let go of the address."""
        self._stopping = True
        if self._reservation is not None:
            self._reservation.release()
        if self._process is not None:
            self._process.kill()
            self._process.wait(5)
        self._sampler.stop()
        if self._checkpoints is not None:
            self._checkpoints.close(_CLOSE_SECONDS)

    def _pid(self) -> int | None:
        return self._process.pid if self._process else None

    def _listen(self) -> None:
        try:
            while True:
                self._hear(self._connection.recv())
        except (EOFError, OSError):
            self._report_exit()
        except Exception as error:  # noqa: BLE001 - or polls would wait for a thread that is gone
            self._fail(FailureKind.INFRASTRUCTURE, f"what its process sent could not be read: {error!r}")

    def _hear(self, event: Any) -> None:
        if isinstance(event, ReleaseAddress):
            if self._reservation is not None:  # one that takes a lost task's place holds none, and takes its port
                self._reservation.release()
            self._send(AddressReleased())
            return
        if isinstance(event, Preempted):
            self.preempt()
            return
        if isinstance(event, LegStarted):
            self._begin_checkpoints()
        if isinstance(event, LegFinished):
            self._flush(event)
        with self._lock:
            if isinstance(event, TaskFailure):
                self._failure = event
                self._state = ReplicaState.FAILED
                return
            if isinstance(event, Ready):
                self._state = ReplicaState.READY
            if isinstance(event, SnapshotTaken):
                self._take_in(event)
                return
            self._news[type(event)].append(event)

    def _take_in(self, event: SnapshotTaken) -> None:
        if event.score:
            self._snapshots[event.stamp] = event.snapshot
            self._news[SnapshotTaken].append(event)
        if self._checkpoints is not None:
            if event.score:
                self._checkpoints.consider(event.stamp, event.snapshot)
            if event.keep:
                self._checkpoints.submit(event.snapshot)

    def _begin_checkpoints(self) -> None:
        if self._checkpoints is not None:
            self._checkpoints.close(0)  # it still writes what it has
            self._checkpoints = None
        if self._leg is not None and self._leg.checkpoints is not None:
            self._checkpoints = Writer(self._leg, self._leg.checkpoints, self._heard)

    def _flush(self, finished: LegFinished) -> None:
        """A leg that has ended has its last checkpoint: the driver hears of the end when it is written."""
        if self._checkpoints is None or self._leg is None:
            return
        with self._lock:
            self._news[Deciding].append(Deciding(finished.run_id, begins=True))  # no hang, however long it takes
        if not self._checkpoints.flush(FLUSH_SECONDS):
            problem = f"the last checkpoint was not written within {FLUSH_SECONDS:.0f} s of the end"
            self._heard(CheckpointFailed(finished.run_id, self._leg.attempt, finished.steps, problem))
        with self._lock:
            self._news[Deciding].append(Deciding(finished.run_id, begins=False))

    def _heard(self, news: CheckpointWritten | CheckpointFailed) -> None:
        """From the thread that writes checkpoints."""
        with self._lock:
            self._news[CheckpointWritten].append(news)
        if isinstance(news, CheckpointFailed) and news.fenced:
            self._fail(FailureKind.INFRASTRUCTURE, news.problem)
            if self._process is not None:
                self._process.kill()

    def _report_exit(self) -> None:
        process = self._process
        code = process.wait(10) if process else None
        if self._failure is None and not self._stopping:
            self._report_death(code)
        self._state = ReplicaState.FAILED if self._failure else ReplicaState.EXITED

    def _report_death(self, code: int | None) -> None:
        """The process ended without saying why."""
        killed = self._memory.explain(code)
        if killed is None:
            self._fail(FailureKind.INFRASTRUCTURE, f"its process {_describe_exit(code)}")
            return
        kind = FailureKind.MEMORY if killed.for_memory else FailureKind.INFRASTRUCTURE
        self._fail(kind, f"its process {killed.summary}", killed.hint)

    def _samples(self) -> tuple[HostSample, ...]:
        samples = self._sampler.drain()
        if samples:  # once a second, as often as there is one: a look costs a quarter of a millisecond
            self._memory.look(self._pid(), samples)
        return samples

    def _fail(self, kind: FailureKind, summary: str, hint: str = "") -> None:
        with self._lock:
            self._failure = TaskFailure(self._task, kind, summary, hint=hint)
            self._state = ReplicaState.FAILED

    def _send(self, command: Any) -> None:
        with contextlib.suppress(OSError):  # the process is gone; `poll` tells
            self._connection.send(command)

    def _read_log(self) -> bytes:
        if self._process is None:
            return b""
        data = os.pread(self._log.fileno(), LOG_BYTES_PER_POLL, self._log_read)
        self._log_read += len(data)
        return self._mask.log(data, over=not data and self._state in (ReplicaState.FAILED, ReplicaState.EXITED))


def _describe_exit(code: int | None) -> str:
    if code is None:
        return "closed its connection but did not end"
    if code < 0:
        known = -code in set(signal.Signals)
        return f"was killed by {signal.Signals(-code).name if known else f'signal {-code}'}"
    return f"ended with exit code {code}"
