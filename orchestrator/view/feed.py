"""Fills a `Board` from a run's folder: each update reads the rows added to metrics.db since the last one."""

from __future__ import annotations

import json
import platform
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from time import localtime, strftime
from typing import Any

from orchestrator.store.directory import RESULT
from orchestrator.store.folders import load_result, load_spec
from orchestrator.store.locks import is_driven
from orchestrator.store.metrics import METRICS, Metrics
from orchestrator.text import is_number
from orchestrator.view.board import Board, FindingLine, metric_of
from orchestrator.view.events import told_of
from orchestrator.view.outcome import outcome
from workers.messages import Task
from workers.modes.registry import find

_CHUNK = 20_000
_BEFORE = ("steps_before", "samples_before")
_ENDS = ("succeeded", "failed", "stopped", "preempted")


class Feed:
    """Keeps the board of one run up to date."""

    def __init__(self, run: Path) -> None:
        """Raises UsageError when `run` is not the folder of a run."""
        self.run = run
        spec = load_spec(run)
        self.board = Board(
            run_id=str(spec.get("run_id") or run.name),
            job=str(spec.get("job", "")),
            variant=str(spec.get("variant") or spec.get("mode", "")),
            seed=int(spec.get("seed") or 0),
            target=spec.get("target"),
            metric=metric_of(spec.get("target")),
        )
        self._batch = int(spec.get("batch_size") or 1)
        self._mode = find(str(spec.get("mode")))
        self._workers = int(spec.get("workers") or 1)
        self._metrics: Metrics | None = None
        self.problem: str | None = None
        """Why the last update read nothing."""
        self._seen: dict[str, int] = {}
        self._driver: tuple[int, str] | None = None

    def update(self) -> Board:
        """Read what is new; returns the current board."""
        try:
            if (self.run / METRICS).is_file():
                # Not kept open: the writer leaves one file behind only if nothing else has it open then.
                self._metrics = Metrics(self.run)
                self._read()
            self.problem = None
        except sqlite3.OperationalError as error:  # the writer may be creating the file, or have locked it
            self.problem = f"{self.run / METRICS} cannot be read: {error}"
        finally:
            if self._metrics is not None:
                self._metrics.close()
                self._metrics = None
        if self.board.outcome is None:
            self._check_for_end()
        return self.board

    def driver_is_gone(self) -> bool:
        """Whether the driver of this run has ended; False if it runs on another host or is not known yet."""
        if self._driver is None or self._driver[1] != platform.node():
            return False
        driven = is_driven(self.run)
        return not (_exists(self._driver[0]) if driven is None else driven)

    def _read(self) -> None:
        board = self.board
        for time, kind, task, detail in self._new("events", "time, kind, task, detail"):
            details = json.loads(detail)
            self._event(kind, details)
            if (told := told_of(kind, task, details)) is not None:
                board.events.append(f"{strftime('%H:%M:%S', localtime(time))} {told}")
        for call in self._new("calls", "last_step, steps, clock, logs"):
            self._call(*call)
        for timing in self._new("timings", "worker, last_step, steps, clock, busy, input_wait"):
            self._timing(*timing)
        for clock, metrics in self._new("evaluations", "clock, metrics"):
            board.evaluation = json.loads(metrics)
            board.metric = board.metric or next(iter(board.evaluation), "")
            if clock is not None and is_number(value := board.evaluation.get(board.metric)):
                board.scores.add(clock, float(value))
        for task, cpu, rss, sent, received, notes in self._new(
            "host_samples", "task, cpu_percent, rss_bytes, net_sent_per_s, net_received_per_s, notes"
        ):
            row = board.row(task)
            row.cpu_percent, row.rss_bytes = cpu, rss
            row.net_per_s = None if sent is None or received is None else sent + received
            board.notes = [note for note in json.loads(notes) if note.startswith("GPU")] or board.notes
        self._gpus()
        for task, state, pid in self._rows("SELECT task, state, pid FROM tasks ORDER BY attempt"):
            row = board.row(task)
            serves = self._serves(task) and board.phase == "training"
            row.state, row.pid = "serving" if serves and state == "ready" else state, pid

    def _event(self, kind: str, details: dict[str, Any]) -> None:
        board = self.board
        if kind == "driver":
            self._driver = (int(details["pid"]), str(details["host"]))
        elif kind in ("launch", "switched", "ready"):
            board.phase = "ready" if kind == "ready" else "launching"
        elif kind == "leg_started":
            board.phase = "training"
            board.total_steps = details.get("total_steps")
            board.global_batch = details.get("global_batch") or 1
            board.steps_before, board.samples_before = (int(details.get(name) or 0) for name in _BEFORE)
            self._mode = find(str(details.get("trains"))) or self._mode
            board.samples_per_epoch = details.get("samples_per_epoch")
        elif kind == "leg_finished":
            board.phase = "scoring"
        elif kind == "rollback":
            board.step = int(details.get("step") or 0)
        elif kind == "finding":
            action, remedies = details.get("action", "warned"), details.get("remedies") or [""]
            board.findings.append(FindingLine(details["finding"], details["symptom"], action, str(remedies[0])))
        elif kind in _ENDS:
            board.phase = kind

    def _call(self, last_step: int, steps: int, clock: float | None, logs: str) -> None:
        board = self.board
        board.step = max(board.step, last_step)
        if clock is not None:
            board.clock = max(board.clock, clock)
            board.samples.add(clock, steps * board.global_batch)
            loss = json.loads(logs).get("loss")
            if loss is not None:
                board.loss.add(clock, float(loss))

    def _timing(
        self, worker: int, last_step: int, steps: int, clock: float, busy: float | None, waited: float | None
    ) -> None:
        row = self.board.row(f"worker:{worker}")
        together = self._workers if self._mode is not None and self._mode.lockstep else 1
        per_step = self.board.global_batch / together
        row.step = max(row.step or 0, last_step)
        row.samples.add(clock, steps * per_step)
        row.waiting = waited / busy if waited is not None and busy else None

    def _serves(self, task: str) -> bool:
        """Whether `task` only provides its devices to a chief."""
        kind, _, index = task.partition(":")
        return self._mode is not None and self._mode.serves(Task(kind, int(index)))

    def _gpus(self) -> None:
        newest: dict[str, list[tuple[float | None, int | None]]] = {}
        at: dict[str, float] = {}
        for task, time, used, memory in self._new("gpu_samples", "task, time, utilization_percent, memory_used_bytes"):
            if at.get(task) != time:
                at[task], newest[task] = time, []
            newest[task].append((used, memory))
        for task, gpus in newest.items():
            row = self.board.row(task)
            known = [used for used, _ in gpus if used is not None]
            row.gpu_percent = sum(known) / len(known) if known else None
            row.gpu_memory_bytes = sum(memory or 0 for _, memory in gpus)

    def _new(self, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
        """Rows added to `table` since the last call."""
        while True:
            query = f"SELECT rowid, {columns} FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT {_CHUNK}"  # noqa: S608
            rows = self._rows(query, self._seen.get(table, 0))
            for number, *row in rows:
                self._seen[table] = number
                yield tuple(row)
            if len(rows) < _CHUNK:
                return

    def _rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return self._metrics.rows(query, *arguments) if self._metrics else []

    def _check_for_end(self) -> None:
        if (self.run / RESULT).is_file():
            result = load_result(self.run)
            self.board.phase, self.board.outcome = result.status, outcome(result)
        elif self.driver_is_gone():
            self.board.phase = "interrupted"
            self.board.outcome = "its driver ended without writing a result"


def _exists(pid: int) -> bool:
    """Whether there is a process `pid`, which may be another one if the pid was reused."""
    return Path(f"/proc/{pid}").exists()
