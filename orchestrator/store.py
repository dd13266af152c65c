"""The run directory: every file name in it, every read and every write.

<run>/spec.yaml      the resolved spec
      plan.json      tasks, resources, TF_CONFIG
      metrics.db     SQLite (WAL): steps, evaluations, host_samples, gpu_samples, events
      result.json    written last, atomically
      logs/<task>.log
<comparison>/comparison.json, report.md, and one run directory each under runs/
"""

from __future__ import annotations

import atexit
import json
import os
import re
import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import documents
from orchestrator.errors import UsageError
from workers.messages import Evaluation, HostSample, ReplicaStatus, StepBatch, Task

if TYPE_CHECKING:
    from orchestrator.result import Comparison, RunResult

RESULT, COMPARISON, SPEC, PLAN, METRICS = (
    "result.json",
    "comparison.json",
    "spec.yaml",
    "plan.json",
    "metrics.db",
)
_CLAIM = ".claim"
_COMMIT_SECONDS = 1.0
_SCHEMA = """
CREATE TABLE steps (attempt INT, step INT, worker INT, clock REAL, loss REAL, staleness REAL);
CREATE TABLE calls (attempt INT, worker INT, last_step INT, steps INT, seconds REAL, logs TEXT);
CREATE TABLE evaluations (attempt INT, step INT, samples INT, clock REAL, metrics TEXT, seconds REAL, final INT);
CREATE TABLE host_samples (attempt INT, task TEXT, time REAL, cpu_percent REAL, rss_bytes INT,
  host_cpu_percent REAL, host_memory_percent REAL, net_sent_per_s REAL, net_received_per_s REAL,
  disk_read_per_s REAL, disk_written_per_s REAL, notes TEXT);
CREATE TABLE gpu_samples (attempt INT, task TEXT, time REAL, uuid TEXT, name TEXT, utilization_percent REAL,
  memory_used_bytes INT, memory_total_bytes INT, process_memory_bytes INT, power_watts REAL,
  temperature_celsius REAL);
CREATE TABLE events (time REAL, attempt INT, kind TEXT, task TEXT, detail TEXT);
"""


def new_id(name: str) -> str:
    """A name that sorts by time: `digits-20261120-231500-1a2b`."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()[:40] or "run"
    return f"{plain}-{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(2).hex()}"


def claim_directory(path: Path) -> Path:
    """Make `path` this run's own folder; of two commands that claim it, one gets it.

    The claim is a file, there until the folder holds something else or this process ends: launching takes
    seconds, in which the folder is empty.

    Raises:
        UsageError: it holds something already, or cannot be written to.
    """
    claim = path / _CLAIM
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise FileExistsError
        claim.touch(exist_ok=False)
    except FileExistsError:
        raise UsageError(
            f"out: {path} is taken: it is not empty, or not a folder. Every run has a folder of its own: "
            "name another one, or remove it first."
        ) from None
    except OSError as error:
        raise UsageError(
            f"out: {path} cannot be written to ({error.strerror}). Name a folder that you may write to, "
            "or change its permissions."
        ) from None
    atexit.register(claim.absolute().unlink, missing_ok=True)
    return path


def write_atomically(path: Path, text: str) -> None:
    """Write all of it or nothing: a reader never sees half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def to_json(document: Any) -> str:
    return documents.to_text(document, indent=2) + "\n"


class RunStore:
    """One run's directory, open for writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.logs.mkdir(exist_ok=True)
        self._log_files: dict[Task, Any] = {}
        self._db = sqlite3.connect(path / METRICS, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        self._db.execute("BEGIN")
        self._committed = time.monotonic()
        (path / _CLAIM).unlink(missing_ok=True)  # the files above say that the folder is taken

    def log_path(self, task: Task | str) -> Path:
        return self.logs / f"{str(task).replace(':', '-')}.log"

    def write_spec(self, spec: Mapping[str, Any]) -> None:
        import yaml

        write_atomically(self.path / SPEC, yaml.safe_dump(dict(spec), sort_keys=False, allow_unicode=True))

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        write_atomically(self.path / PLAN, to_json(plan))

    def write_result(self, result: RunResult) -> None:
        write_atomically(self.path / RESULT, to_json(result.to_json()))

    def add(self, attempt: int, status: ReplicaStatus) -> None:
        """Everything a status brought."""
        for batch in status.batches:
            self._add_batch(attempt, batch)
        for evaluation in status.evaluations:
            self._add_evaluation(attempt, evaluation)
        for sample in status.samples:
            self._add_sample(attempt, status.task, sample)
        if status.log:
            self.append_log(status.task, status.log)
        self._commit_when_due()

    def event(self, attempt: int, kind: str, task: Task | None = None, **detail: Any) -> None:
        self._insert("events", [(time.time(), attempt, kind, str(task) if task else None, json.dumps(detail))])
        self._commit_when_due()

    def append_log(self, task: Task, data: bytes) -> None:
        file = self._log_files.get(task)
        if file is None:
            file = self._log_files[task] = self.log_path(task).open("ab")
        file.write(data)
        file.flush()

    def close(self) -> None:
        for file in self._log_files.values():
            file.close()
        self._db.execute("COMMIT")
        with suppress(sqlite3.OperationalError):  # a reader holds it: the WAL stays beside, and is as good
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()

    def _add_batch(self, attempt: int, batch: StepBatch) -> None:
        staleness = batch.staleness.tolist() if batch.staleness is not None else [None] * len(batch.steps)
        columns = zip(batch.steps.tolist(), batch.clock.tolist(), batch.losses.tolist(), staleness, strict=True)
        self._insert("steps", [(attempt, s, batch.worker, c, loss, stale) for s, c, loss, stale in columns])
        last = int(batch.steps[-1])
        call = (attempt, batch.worker, last, len(batch.steps), batch.seconds, json.dumps(dict(batch.logs)))
        self._insert("calls", [call])

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
            self._db.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608 - our own names

    def commit(self) -> None:
        """Make everything added so far readable by others, and safe from this process' death."""
        self._db.execute("COMMIT")
        self._db.execute("BEGIN")
        self._committed = time.monotonic()

    def _commit_when_due(self) -> None:
        if time.monotonic() - self._committed >= _COMMIT_SECONDS:
            self.commit()


class Metrics:
    """A run's metrics.db, open for reading; also while the run is on."""

    def __init__(self, run: Path) -> None:
        # As a URI the path may hold any character; `#` or `?` would end a plain one.
        self._db = sqlite3.connect(f"{(run / METRICS).absolute().as_uri()}?mode=ro", uri=True)

    def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return self._db.execute(query, arguments).fetchall()

    def column(self, query: str, *arguments: Any) -> list[Any]:
        return [row[0] for row in self.rows(query, *arguments)]

    def close(self) -> None:
        self._db.close()


def write_comparison(path: Path, comparison: Comparison) -> None:
    write_atomically(path / COMPARISON, to_json(comparison.to_json()))


def load_result(path: Path) -> RunResult:
    """The result of the run in folder `path`.

    Raises:
        UsageError: there is none, or it is not one.
    """
    from orchestrator.result import RunResult

    return documents.load(RunResult, path / RESULT)


def load_comparison(path: Path) -> Comparison:
    """As `load_result`, for a comparison's folder."""
    from orchestrator.result import Comparison

    return documents.load(Comparison, path / COMPARISON)


def find_runs(root: Path) -> Iterable[Path]:
    """Folders of runs and comparisons under `root`, oldest first."""
    if not root.is_dir():
        return []
    found = {p.parent for name in (SPEC, COMPARISON) for p in root.glob(f"*/{name}")}
    found |= {p.parents[2] for p in root.glob(f"*/runs/*/{SPEC}")}  # comparisons that are not finished
    return sorted(found, key=lambda p: p.stat().st_mtime)
