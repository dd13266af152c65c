"""The layout of run folders, and the writing of them; `orchestrator.store.folders` reads them.

<run>/spec.yaml      the resolved spec
      plan.json      tasks, resources, TF_CONFIG
      environment.json  versions, processor, commits
      metrics.db     SQLite (WAL), `orchestrator.store.metrics`
      result.json    written last, atomically
      driver.lock    locked by the driver while it is alive; contains its pid and host
      checkpoints/   `workers.checkpoints`, unless the spec names another storage
      logs/<task>.log
      tensorboard/   event files, `orchestrator.sinks.tensorboard`
<comparison>/
      comparison.yaml  the resolved spec, written first
      comparison.json, report.md
      runs/<run>/    one folder per run
"""

from __future__ import annotations

import atexit
import fcntl
import os
import platform
import re
import sqlite3
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from orchestrator.errors import UsageError
from orchestrator.store import documents
from orchestrator.store.metrics import METRICS, MetricsWriter
from workers import files
from workers.files import write_atomically
from workers.messages import Task
from workers.news import ReplicaStatus

if TYPE_CHECKING:
    from orchestrator.results import Comparison, RunResult

RESULT, COMPARISON, SPEC, PLAN, ENVIRONMENT = (
    "result.json",
    "comparison.json",
    "spec.yaml",
    "plan.json",
    "environment.json",
)
COMPARISON_SPEC = "comparison.yaml"
TENSORBOARD = "tensorboard"
_CLAIM = ".claim"
_LOCK = "driver.lock"


def new_id(name: str) -> str:
    """A new run id, which sorts by time among those of the same name: `digits-20261120-231500-1a2b`."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()[:40] or "run"
    return f"{plain}-{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(2).hex()}"


def claim_directory(path: Path) -> Path:
    """Create the folder `path` for one run; if two commands claim it at once, one of them fails.

    A locked file marks the folder as taken until other files do: launching takes seconds. The kernel frees the lock of
    a command that was killed.

    Raises:
        UsageError: the folder is not empty, or cannot be written to.
    """
    claim = path / _CLAIM
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = files.append(claim)
        if not _taken(file, fcntl.LOCK_EX) or any(entry.name != _CLAIM for entry in path.iterdir()):
            raise FileExistsError
    except FileExistsError:
        raise UsageError(
            f"out: {path} is taken: it is not empty, or not a folder. Every run needs its own folder: "
            "choose another one, or remove this one first."
        ) from None
    except OSError as error:
        raise UsageError(
            f"out: {path} cannot be written to ({error.strerror}). Choose a folder that you may write to, "
            "or change its permissions."
        ) from None
    atexit.register(partial(_end_claim, file, claim.absolute()))
    return path


def _end_claim(file: BinaryIO, path: Path) -> None:
    path.unlink(missing_ok=True)
    file.close()


def to_json(document: Any) -> str:
    """Indented JSON text for a file."""
    return documents.to_text(document, indent=2) + "\n"


def _to_yaml(document: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True)


class RunStore:
    """Writes one run's folder."""

    def __init__(self, path: Path, *, reopen: bool = False) -> None:
        """`reopen` is for a run that is resumed. Raises UsageError if another driver has the run open."""
        self.path = path
        self._lock = _lock(path)
        self.logs = path / "logs"
        self.logs.mkdir(exist_ok=True)
        self._log_files: dict[Task, Any] = {}
        self._log_bytes_lost = 0
        self._log_problem: str | None = None
        try:
            self._metrics = MetricsWriter(path, reopen=reopen)
        except sqlite3.Error as error:
            raise UsageError(f"out: {path / METRICS} cannot be written ({error}). Is the disk full?") from None
        (path / _CLAIM).unlink(missing_ok=True)  # the files above mark the folder as taken

    def log_path(self, task: Task | str) -> Path:
        return self.logs / f"{str(task).replace(':', '-')}.log"

    def write_spec(self, spec: Mapping[str, Any]) -> None:
        write_atomically(self.path / SPEC, _to_yaml(spec))

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        write_atomically(self.path / PLAN, to_json(plan))

    def write_environment(self, facts: Mapping[str, Any]) -> None:
        write_atomically(self.path / ENVIRONMENT, to_json(facts))

    def write_result(self, result: RunResult) -> None:
        write_atomically(self.path / RESULT, to_json(result.to_json()))

    def add(self, attempt: int, status: ReplicaStatus, rollbacks: int = 0) -> None:
        """Store everything that a status contains: its log, and its news in metrics.db."""
        if status.log:
            self.append_log(status.task, status.log)
        self._metrics.add(attempt, status, rollbacks)

    def event(self, attempt: int, kind: str, task: Task | None = None, **detail: Any) -> None:
        self._metrics.event(attempt, kind, task, **detail)

    def commit(self) -> None:
        """Make everything added so far visible to readers and safe if this process is killed."""
        self._metrics.commit()

    def append_log(self, task: Task, data: bytes) -> None:
        try:
            file = self._log_files.get(task)
            if file is None:
                file = self._log_files[task] = files.append(self.log_path(task))
            file.write(data)
            file.flush()
        except OSError as error:
            if (file := self._log_files.pop(task, None)) is not None:
                with suppress(OSError):  # it tries once more to write what it has
                    file.close()
            self._log_bytes_lost += len(data)
            self._log_problem = f"{self.log_path(task)} cannot be written ({error.strerror})"

    @property
    def problem(self) -> str | None:
        """Why metrics or logs cannot be written, for a person; None if they can."""
        return self._metrics.problem or self._log_problem

    @property
    def metrics_complete(self) -> bool:
        """Whether metrics.db contains everything that was added before the last commit."""
        return self._metrics.problem is None and not self._metrics.dropped

    @property
    def lost(self) -> str | None:
        """What could not be stored, for a person; None if everything was."""
        parts = [f"{self._metrics.dropped:,} rows of {METRICS}"] if self._metrics.dropped else []
        parts += [f"{self._log_bytes_lost:,} bytes of logs"] if self._log_bytes_lost else []
        return " and ".join(parts) or None

    def finish_metrics(self) -> None:
        """Close logs and metrics.db, so that others can read them; the run stays locked."""
        for file in self._log_files.values():
            file.close()
        self._log_files.clear()
        self._metrics.close()

    def close(self) -> None:
        """Let another driver have the run; the last thing to do, after the result is written."""
        self.finish_metrics()
        self._lock.close()


def _lock(path: Path) -> BinaryIO:
    """Lock the run in folder `path`; the kernel releases the lock when this process ends, however it ends.

    Raises:
        UsageError: another process holds the lock.
    """
    try:
        file = files.append(path / _LOCK)
    except OSError as error:
        raise UsageError(f"{path / _LOCK} cannot be opened: {error.strerror}. Remove it, if no driver runs.") from None
    if not _taken(file, fcntl.LOCK_EX):
        file.seek(0)
        holder = "".join(filter(str.isprintable, file.read(300).decode(errors="replace")))
        file.close()
        raise UsageError(
            f"The driver of the run in {path} is still running ({holder or 'pid not known yet'}), and only one process "
            "may train a run. Stop it first with Ctrl-C, or with SIGTERM, upon which it writes a checkpoint."
        ) from None
    file.truncate(0)
    file.write(f"pid {os.getpid()} on {platform.node()}".encode())
    file.flush()
    return file


def _taken(file: BinaryIO, kind: int) -> bool:
    """Whether the lock was free; a viewer that asks `is_driven` holds it for a moment."""
    for _ in range(5):
        with suppress(OSError):
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
        time.sleep(0.02)
    return False


def is_driven(path: Path) -> bool | None:
    """Whether a driver on this host holds the lock of the run in folder `path`; None if that cannot be told."""
    try:
        with files.open_regular(path / _LOCK) as file:
            return not _taken(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False
    except OSError:
        return None


def check_not_driven(path: Path) -> None:
    """Raises UsageError, which names its pid, if the driver of the run in folder `path` is still running."""
    if (path / _LOCK).exists():
        _lock(path).close()


def write_comparison_spec(path: Path, spec: Mapping[str, Any]) -> None:
    write_atomically(path / COMPARISON_SPEC, _to_yaml(spec))


def write_comparison(path: Path, comparison: Comparison) -> None:
    write_atomically(path / COMPARISON, to_json(comparison.to_json()))
