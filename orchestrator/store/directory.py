"""The run directory: every file name in it, every read and every write.

<run>/spec.yaml      the resolved spec
      plan.json      tasks, resources, TF_CONFIG
      environment.json  versions, processor, commits
      metrics.db     SQLite (WAL), `orchestrator.store.metrics`
      result.json    written last, atomically
      driver.lock    held by the driver while it lives; its pid and host are in it
      checkpoints/   `workers.checkpoints`, where the spec names no other place
      logs/<task>.log
      tensorboard/   event files, `orchestrator.sinks.tensorboard`
<comparison>/comparison.yaml, the resolved spec, written first; comparison.json, report.md; and one run directory
      each under runs/
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import platform
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from orchestrator.errors import UsageError
from orchestrator.store import documents
from orchestrator.store.metrics import MetricsWriter
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


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write all of it or nothing: a reader never sees half a file. Text is written as UTF-8."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def to_json(document: Any) -> str:
    return documents.to_text(document, indent=2) + "\n"


def _to_yaml(document: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True)


class RunStore:
    """One run's directory, open for writing."""

    def __init__(self, path: Path, *, reopen: bool = False) -> None:
        """`reopen`: the run is taken up again. Raises UsageError if another driver has it in its hands."""
        self.path = path
        self._lock = _lock(path)
        self.logs = path / "logs"
        self.logs.mkdir(exist_ok=True)
        self._log_files: dict[Task, Any] = {}
        self._metrics = MetricsWriter(path, reopen=reopen)
        (path / _CLAIM).unlink(missing_ok=True)  # the files above say that the folder is taken

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
        """Everything a status brought."""
        if status.log:
            self.append_log(status.task, status.log)
        self._metrics.add(attempt, status, rollbacks)

    def event(self, attempt: int, kind: str, task: Task | None = None, **detail: Any) -> None:
        self._metrics.event(attempt, kind, task, **detail)

    def commit(self) -> None:
        """Make everything added so far readable by others, and safe from this process' death."""
        self._metrics.commit()

    def append_log(self, task: Task, data: bytes) -> None:
        file = self._log_files.get(task)
        if file is None:
            file = self._log_files[task] = self.log_path(task).open("ab")
        file.write(data)
        file.flush()

    def close(self) -> None:
        for file in self._log_files.values():
            file.close()
        self._metrics.close()
        self._lock.close()


def _lock(path: Path) -> IO[str]:
    """Hold the run in folder `path`; the kernel lets go of it when this process ends, however it ends."""
    file = (path / _LOCK).open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        holder = "".join(character for character in file.read(300) if character.isprintable())
        file.close()
        raise UsageError(
            f"The driver of the run in {path} is still alive ({holder or 'it has not said who it is'}): only one may "
            "train it. End that one first, with Ctrl-C or SIGTERM; it writes a checkpoint."
        ) from None
    file.truncate(0)
    file.write(f"pid {os.getpid()} on {platform.node()}")
    file.flush()
    return file


def check_not_driven(path: Path) -> None:
    """Raises UsageError if the driver of the run in folder `path` is alive; says its pid."""
    if (path / _LOCK).exists():
        _lock(path).close()


def write_comparison_spec(path: Path, spec: Mapping[str, Any]) -> None:
    write_atomically(path / COMPARISON_SPEC, _to_yaml(spec))


def write_comparison(path: Path, comparison: Comparison) -> None:
    write_atomically(path / COMPARISON, to_json(comparison.to_json()))


def load_result(path: Path) -> RunResult:
    """The result of the run in folder `path`.

    Raises:
        UsageError: there is none, or it is not one.
    """
    from orchestrator.results import RunResult

    return documents.load(RunResult, path / RESULT)


def load_comparison(path: Path) -> Comparison:
    """As `load_result`, for a comparison's folder."""
    from orchestrator.results import Comparison

    return documents.load(Comparison, path / COMPARISON)


def find_runs(root: Path) -> Iterable[Path]:
    """Folders of runs and comparisons under `root`, oldest first."""
    if not root.is_dir():
        return []
    found = {p.parent for name in (SPEC, COMPARISON_SPEC, COMPARISON) for p in root.glob(f"*/{name}")}
    found |= {p.parents[2] for p in root.glob(f"*/runs/*/{SPEC}")}  # comparisons that are not finished
    return sorted(found, key=lambda p: p.stat().st_mtime)


FILE = "environment.json"

_MAX_BYTES = 1 << 20


def load_environment(run: Path) -> dict[str, Any] | None:
    """What was stored when the run was made; null when nothing readable was."""
    path = run / FILE
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return stored if isinstance(stored, dict) else None
