"""A run's metrics.db: written by the driver while the run trains, read by any number of processes, then and later.

SQLite runs in WAL mode, so readers never wait for the writer; on a network file system it runs with a rollback
journal, because readers on other hosts do not see the memory that WAL needs. Rows are committed within a second, so a
driver that is killed loses no more than that, and the file stays readable.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import time
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

from orchestrator.store.file_systems import network_file_system
from orchestrator.store.versions import other_version
from workers import files
from workers.messages import Task
from workers.news import CallTiming, Evaluation, HostSample, ReplicaStatus, StepBatch

METRICS = "metrics.db"
COMMIT_SECONDS = 1.0
MOST_ROWS = 200_000
"""Rows that wait in memory while the disk is full, some 50 MB; after that measurements are dropped, and counted."""
_DROPPABLE = ("steps", "calls", "timings", "host_samples", "gpu_samples")

# `attempt` counts launches of the worker group. In steps, calls, timings and evaluations, a rollback counts as another
# attempt: of two rows for one step, the row of the later attempt is the valid one.
SCHEMA = """
CREATE TABLE steps (attempt INT, step INT, worker INT, clock REAL, loss REAL, staleness REAL);
CREATE TABLE calls (attempt INT, worker INT, last_step INT, steps INT, seconds REAL, logs TEXT, clock REAL);
CREATE TABLE timings (attempt INT, worker INT, last_step INT, steps INT, clock REAL, seconds REAL, busy REAL,
  input_wait REAL, communication REAL, snapshot REAL);
CREATE TABLE evaluations (attempt INT, step INT, samples INT, clock REAL, metrics TEXT, seconds REAL, final INT);
CREATE TABLE host_samples (attempt INT, task TEXT, time REAL, cpu_percent REAL, rss_bytes INT,
  host_cpu_percent REAL, host_memory_percent REAL, net_sent_per_s REAL, net_received_per_s REAL,
  disk_read_per_s REAL, disk_written_per_s REAL, notes TEXT);
CREATE TABLE gpu_samples (attempt INT, task TEXT, time REAL, uuid TEXT, name TEXT, utilization_percent REAL,
  memory_used_bytes INT, memory_total_bytes INT, process_memory_bytes INT, power_watts REAL,
  temperature_celsius REAL);
CREATE TABLE tasks (attempt INT, task TEXT, state TEXT, pid INT, since REAL, PRIMARY KEY (attempt, task));
CREATE TABLE events (time REAL, attempt INT, kind TEXT, task TEXT, detail TEXT);
"""
_JOURNAL, _HEADER_BYTES, _WAL = 18, 20, b"\2\2"
"""Where a database's header says how it is written, and what it says there in WAL mode (sqlite.org/fileformat.html)."""
LONGEST_VALUE = 16 << 20
"""Bytes; a reader takes no longer ones."""
TABLES = tuple(re.findall(r"CREATE TABLE (\w+)", SCHEMA))


def _statement(sql: str) -> str:
    return " ".join(sql.replace("IF NOT EXISTS ", "").split())


_STATEMENTS = frozenset(_statement(sql) for sql in SCHEMA.split(";"))


class MetricsWriter:
    """Writes a run's metrics.db; this process has to be the only writer."""

    def __init__(self, run: Path, *, reopen: bool = False) -> None:
        """`reopen` is for a run that is resumed, which may have ended before the tables were created."""
        self._path = run / METRICS
        files.append(self._path).close()  # made here, for SQLite would follow a link
        self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._db.execute(f"PRAGMA journal_mode={'WAL' if network_file_system(run) is None else 'DELETE'}")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(SCHEMA.replace("TABLE", "TABLE IF NOT EXISTS") if reopen else SCHEMA)
        self._waiting: list[tuple[str, list[tuple[Any, ...]]]] = []
        self._rows_waiting = 0
        self._committed = time.monotonic()
        self._tasks: dict[Task, tuple[int, str, int | None]] = {}
        self._closed = False
        self.dropped = 0
        """Rows that were lost, because the disk was full for longer than `MOST_ROWS` took."""
        self.problem: str | None = None
        """Why nothing can be written at the moment; rows wait in memory until it can."""

    def add(self, attempt: int, status: ReplicaStatus, rollbacks: int = 0) -> None:
        """Add everything that a status reports."""
        self._add_task(attempt, status)
        for news in status.news:
            match news:
                case StepBatch():
                    self._add_batch(attempt + rollbacks, news)
                case CallTiming():
                    self._add_timing(attempt + rollbacks, news)
                case Evaluation():
                    self._add_evaluation(attempt + rollbacks, news)
                case HostSample():
                    self._add_sample(attempt, status.task, news)
        self.commit_when_due()

    def event(self, attempt: int, kind: str, task: Task | None = None, **detail: Any) -> None:
        self._insert("events", [(time.time(), attempt, kind, str(task) if task else None, json.dumps(detail))])
        self.commit_when_due()

    def commit(self) -> None:
        """Make everything added so far visible to readers and safe if this process is killed.

        If the disk is full, `problem` says so, and the rows wait for the next commit.
        """
        self._committed = time.monotonic()
        try:
            self._db.execute("BEGIN")
            for statement, rows in self._waiting:
                self._db.executemany(statement, rows)
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            with suppress(sqlite3.OperationalError):  # SQLite may have rolled back by itself
                self._db.execute("ROLLBACK")
            self.problem = f"{self._path} cannot be written ({error}; {_free(self._path)})"
        else:
            self._waiting.clear()
            self._rows_waiting, self.problem = 0, None

    def commit_when_due(self) -> None:
        if time.monotonic() - self._committed >= COMMIT_SECONDS:
            self.commit()

    def close(self) -> None:
        """Commit, and leave one file that users without write access can read too."""
        if self._closed:
            return
        self._closed = True
        self.commit()
        self.dropped += self._rows_waiting
        with suppress(sqlite3.OperationalError):  # with a reader connected the WAL file stays, which is as good
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.execute("PRAGMA journal_mode=DELETE")
        self._db.close()

    def _add_task(self, attempt: int, status: ReplicaStatus) -> None:
        """Store the task's state and pid if they have changed."""
        current = (attempt, str(status.state), status.pid)
        if self._tasks.get(status.task) != current:
            self._tasks[status.task] = current
            row = (attempt, str(status.task), str(status.state), status.pid, time.time())
            self._add_rows("INSERT OR REPLACE INTO tasks VALUES (?,?,?,?,?)", [row])

    def _add_batch(self, attempt: int, batch: StepBatch) -> None:
        staleness = batch.staleness.tolist() if batch.staleness is not None else [None] * len(batch.steps)
        columns = zip(batch.steps.tolist(), batch.clock.tolist(), batch.losses.tolist(), staleness, strict=True)
        self._insert("steps", [(attempt, s, batch.worker, c, loss, stale) for s, c, loss, stale in columns])
        rate = {} if batch.learning_rate is None else {"learning_rate": batch.learning_rate}
        last, clock, logs = int(batch.steps[-1]), float(batch.clock[-1]), json.dumps({**rate, **batch.logs})
        self._insert("calls", [(attempt, batch.worker, last, len(batch.steps), batch.seconds, logs, clock)])

    def _add_timing(self, attempt: int, timing: CallTiming) -> None:
        self._insert("timings", [(attempt, *astuple(timing)[1:])])

    def _add_evaluation(self, attempt: int, evaluation: Evaluation) -> None:
        stamp = evaluation.stamp
        metrics = json.dumps(dict(evaluation.metrics))
        row = (attempt, stamp.step, stamp.samples, stamp.clock, metrics, evaluation.seconds, int(stamp.final))
        self._insert("evaluations", [row])

    def _add_sample(self, attempt: int, task: Task, sample: HostSample) -> None:
        *readings, _, notes = astuple(sample)
        self._insert("host_samples", [(attempt, str(task), *readings, json.dumps(notes))])
        self._insert("gpu_samples", [(attempt, str(task), sample.time, *astuple(gpu)) for gpu in sample.gpus])

    def _insert(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        if rows:
            marks = ",".join("?" * len(rows[0]))
            self._add_rows(f"INSERT INTO {table} VALUES ({marks})", rows, droppable=table in _DROPPABLE)  # noqa: S608

    def _add_rows(self, statement: str, rows: list[tuple[Any, ...]], *, droppable: bool = False) -> None:
        if droppable and self._rows_waiting + len(rows) > MOST_ROWS:
            self.dropped += len(rows)
            return
        self._waiting.append((statement, rows))
        self._rows_waiting += len(rows)


class Metrics:
    """Reads a run's metrics.db, also while the run trains."""

    def __init__(self, run: Path) -> None:
        """Raises sqlite3.Error if there is no such database, or it is not one that Regatta made."""
        self._run, path = run, run / METRICS
        try:
            with files.open_regular(path) as file:
                journal = file.read(_HEADER_BYTES)[_JOURNAL:]
        except OSError as error:
            raise sqlite3.OperationalError(f"unable to open {METRICS}: {error.strerror}") from None
        kind = network_file_system(run) if journal == _WAL else None
        if kind is not None and path.with_name(f"{METRICS}-wal").exists():
            raise sqlite3.OperationalError(
                f"it is written with a write-ahead log, which cannot be read over {kind}: read it on the host that "
                "writes it, or copy the run's folder to a local disk"
            )
        # `as_uri` escapes characters such as `#` and `?`, which would otherwise end the path.
        options = "mode=ro" if kind is None else "mode=ro&immutable=1"  # a copy, which nothing writes
        self._db = sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True)
        try:
            self._db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
            self._check_schema()
        except sqlite3.Error:
            self._db.close()
            raise

    def _check_schema(self) -> None:
        """The folder may come from a stranger: reading a view, or a computed column, may take for ever."""
        found = self.rows("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        foreign = [str(name) for name, sql in found if _statement(str(sql)) not in _STATEMENTS]
        if foreign:
            raise sqlite3.DatabaseError(
                f"{METRICS} has another layout than this version of Regatta writes: {', '.join(foreign)[:200]}."
                f"{other_version(self._run)}"
            )

    def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return self._db.execute(query, arguments).fetchall()

    def column(self, query: str, *arguments: Any) -> list[Any]:
        """The first value of every row."""
        return [row[0] for row in self.rows(query, *arguments)]

    def close(self) -> None:
        self._db.close()


def _free(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path.parent).free:,} bytes are free"
    except OSError:
        return "free space is not known"
