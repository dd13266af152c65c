"""Reads run and comparison folders: what kind a folder is, and the spec, environment and results stored in it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UsageError
from orchestrator.spec.yaml import read_mapping
from orchestrator.store import documents
from orchestrator.store.directory import COMPARISON, COMPARISON_SPEC, RESULT, SPEC, SWEEP, SWEEP_SPEC
from orchestrator.store.versions import ENVIRONMENT, MAX_BYTES
from workers import files

if TYPE_CHECKING:
    from orchestrator.results import Comparison, RunResult, Sweep

RUNS = Path("runs")
"""Where runs are kept, unless `out` says otherwise."""


def is_run(path: Path) -> bool:
    """Whether `path` is the folder of a run, finished or not."""
    return any((path / name).is_file() for name in (RESULT, SPEC))


def is_comparison(path: Path) -> bool:
    """Whether `path` is the folder of a comparison, finished or not."""
    if any((path / name).is_file() for name in (COMPARISON, COMPARISON_SPEC)):
        return True
    if is_sweep(path):
        return False
    return any(map(is_run, (path / "runs").glob("*")))


def is_sweep(path: Path) -> bool:
    """Whether `path` is the folder of a sweep, finished or not."""
    return (path / SWEEP_SPEC).is_file()


def find_runs(root: Path) -> Iterable[Path]:
    """Folders of runs and comparisons directly under `root`, oldest first."""
    if not root.is_dir():
        return []
    found = {p.parent for name in (SPEC, COMPARISON_SPEC, COMPARISON, SWEEP_SPEC) for p in root.glob(f"*/{name}")}
    found |= {p.parents[2] for p in root.glob(f"*/runs/*/{SPEC}")}  # unfinished comparisons
    return sorted(found, key=started)


def started(path: Path) -> float:
    """When the run in folder `path` was started, in seconds since 1970: when its spec, the first file, was written."""
    written = [file.stat().st_mtime for name in (COMPARISON_SPEC, SWEEP_SPEC, SPEC) if (file := path / name).is_file()]
    return min(written, default=path.stat().st_mtime)


def load_spec(path: Path) -> dict[str, Any]:
    """Fields of the spec that the run in folder `path` was started with, not validated.

    Raises:
        UsageError: there is no spec, or it cannot be read.
    """
    return _load_spec(path, SPEC, "run")


def load_comparison_spec(path: Path) -> dict[str, Any]:
    """Like `load_spec`, for a comparison's folder."""
    return _load_spec(path, COMPARISON_SPEC, "comparison")


def load_sweep_spec(path: Path) -> dict[str, Any]:
    """Like `load_spec`, for a sweep's folder."""
    return _load_spec(path, SWEEP_SPEC, "sweep")


def _load_spec(path: Path, name: str, kind: str) -> dict[str, Any]:
    if not path.exists():
        raise UsageError(f"There is no folder {path}; `regatta runs` lists those of your runs.")
    if not (path / name).is_file():
        raise UsageError(f"{path} is not the folder of a {kind}: it holds no {name}.")
    return read_mapping(path / name, follow=False)


def load_environment(run: Path) -> dict[str, Any] | None:
    """The environment stored when the run was started; None if it is missing or unreadable."""
    path = run / ENVIRONMENT
    try:
        stored = json.loads(files.read(path, MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return stored if isinstance(stored, dict) else None


def load_result(path: Path) -> RunResult:
    """The result of the run in folder `path`.

    Raises:
        UsageError: there is no result.json, or it is not valid.
    """
    from orchestrator.results import RunResult

    return documents.load(RunResult, path / RESULT)


def load_done(path: Path) -> RunResult | None:
    """The result of the run in folder `path` if there is nothing left to train; None if it failed, was interrupted, or
    has no result. Errors as for `load_result`.
    """
    if not (path / RESULT).exists():
        return None
    result = load_result(path)
    done = result.status == "succeeded" or (result.status == "stopped" and result.stop_reason != "interrupted")
    return result if done else None


def load_comparison(path: Path) -> Comparison:
    """Like `load_result`, for a comparison's folder."""
    from orchestrator.results import Comparison

    return documents.load(Comparison, path / COMPARISON)


def load_sweep(path: Path) -> Sweep:
    """Like `load_result`, for a sweep's folder."""
    from orchestrator.results import Sweep

    return documents.load(Sweep, path / SWEEP)
