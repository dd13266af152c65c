"""The layout of run folders, and the writing of them; `orchestrator.store.folders` reads them.

<run>/spec.yaml      the resolved spec
      plan.json      tasks, resources, TF_CONFIG
      environment.json  versions, processor, commits
      metrics.db     SQLite (WAL), `orchestrator.store.metrics`
      model.keras    the trained model, written by the leader
      result.json    written last, atomically
      driver.lock    locked by the driver while it is alive; contains its pid and host
      checkpoints/   `workers.checkpoints`, unless the spec names another storage
      logs/<task>.log
      tensorboard/   event files, `orchestrator.sinks.tensorboard`
      wandb.json, wandb/  with `--wandb`: `orchestrator.sinks.wandb_client`
      fits/<number>/ the runs of a script's earlier fits, each with what it left behind in ended-fit.bin
<comparison>/
      comparison.yaml  the resolved spec, written first
      comparison.json, report.md
      runs/<run>/    one folder per run
<sweep>/
      sweep.yaml     the resolved spec, written first
      study.db       Optuna's study
      sweep.json, report.md, best.yaml
      runs/<run>/    one folder per trial
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UsageError
from orchestrator.store import documents
from orchestrator.store.locks import CLAIM, lock
from orchestrator.store.metrics import METRICS, MetricsWriter
from orchestrator.store.versions import ENVIRONMENT
from workers import files
from workers.files import write_atomically
from workers.messages import FitEnded, Task
from workers.news import ReplicaStatus

if TYPE_CHECKING:
    from orchestrator.results import Comparison, RunResult, Sweep

RESULT, COMPARISON, SPEC, PLAN = "result.json", "comparison.json", "spec.yaml", "plan.json"
COMPARISON_SPEC = "comparison.yaml"
SWEEP, SWEEP_SPEC, BEST = "sweep.json", "sweep.yaml", "best.yaml"
LOGS, TENSORBOARD, CHECKPOINTS, FITS = "logs", "tensorboard", "checkpoints", "fits"
ENDED_FIT = "ended-fit.bin"


def new_id(name: str) -> str:
    """A new run id, which sorts by time among those of the same name: `digits-20261120-231500-1a2b`."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()[:40] or "run"
    return f"{plain}-{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(2).hex()}"


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
        for name in (LOGS, TENSORBOARD, CHECKPOINTS):
            if (path / name).is_symlink():
                raise UsageError(f"{path / name} is a link, and a run writes only below its own folder. Remove it.")
        self._lock = lock(path)
        self.logs = path / LOGS
        self.logs.mkdir(exist_ok=True)
        self._log_files: dict[Task, Any] = {}
        self._log_bytes_lost = 0
        self._log_problem: str | None = None
        try:
            self._metrics = MetricsWriter(path, reopen=reopen)
        except sqlite3.Error as error:
            raise UsageError(f"out: {path / METRICS} cannot be written ({error}). Is the disk full?") from None
        (path / CLAIM).unlink(missing_ok=True)  # the files above mark the folder as taken

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

    def _write_ended_fit(self, content: bytes) -> None:
        """Store what a script's earlier fit left behind. Raises UsageError if that is not possible."""
        try:
            write_atomically(self.path / ENDED_FIT, content)
        except OSError as error:
            raise UsageError(f"{self.path / ENDED_FIT} cannot be written ({error.strerror}).") from None

    def add(self, attempt: int, status: ReplicaStatus, rollbacks: int = 0) -> None:
        """Store everything that a status contains: its log, and its news in metrics.db."""
        if status.log:
            self.append_log(status.task, status.log)
        for news in status.news:
            if isinstance(news, FitEnded):
                self._write_ended_fit(news.content)
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


def write_comparison_spec(path: Path, spec: Mapping[str, Any]) -> None:
    write_atomically(path / COMPARISON_SPEC, _to_yaml(spec))


def write_comparison(path: Path, comparison: Comparison) -> None:
    write_atomically(path / COMPARISON, to_json(comparison.to_json()))


def write_sweep_spec(path: Path, spec: Mapping[str, Any]) -> None:
    write_atomically(path / SWEEP_SPEC, _to_yaml(spec))


def write_sweep(path: Path, sweep: Sweep, best: Mapping[str, Any] | None) -> None:
    """Write the trials so far, and the spec of the best one if there is one."""
    write_atomically(path / SWEEP, to_json(sweep.to_json()))
    if best is not None:
        write_atomically(path / BEST, _to_yaml(best))
