"""Copies our packages and the user's code into one folder that is sent to other hosts.

`jobs.staged` defines the layout there; a host that has the same files uses its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from jobs.staged import FOLDER, job_file, on_this_host, users_folder
from orchestrator.errors import UsageError
from workers.session import PACKAGES

OUR_PACKAGES = ("orchestrator", "workers", "jobs")
MAX_USER_BYTES = 20 << 20


def stage(folder: Path, job: str, directory: str, *, for_driver: bool = False) -> None:
    """Copy our packages and the Python code of `job` (a job reference) into `folder`.

    What only a report needs, a megabyte, is left out unless `for_driver`.

    Raises:
        UsageError: the user's code is larger than `MAX_USER_BYTES`.
    """
    left_out = ("__pycache__",) if for_driver else ("__pycache__", "assets")
    for package in OUR_PACKAGES:
        shutil.copytree(PACKAGES / package, folder / package, ignore=shutil.ignore_patterns(*left_out))
    source = _code_folder(job, directory)
    if source is None:
        return
    total = 0
    for file in _modules(source):
        total += file.stat().st_size
        if total > MAX_USER_BYTES:
            raise UsageError(
                f"The Python files in {source} and its packages are larger than {MAX_USER_BYTES >> 20} MiB, too "
                "much to send to other hosts: keep the job and what it imports in a folder of their own."
            )
        copy = folder / FOLDER / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)


def _code_folder(job: str, directory: str) -> Path | None:
    """The folder with the user's code; None for a job that is built in, installed or not found there."""
    folder = on_this_host(users_folder(job, directory))
    if job_file(job):
        return folder
    module, colon, _ = job.partition(":")
    if not colon:
        return None
    path = folder.joinpath(*module.split("."))
    return folder if path.is_dir() or path.with_suffix(".py").is_file() else None


def _modules(folder: Path) -> Iterator[Path]:
    """Yield the Python files in `folder` and in the packages inside it."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):  # such as the folders in which Kubernetes keeps versions of a mounted ConfigMap
            continue
        if path.is_file() and path.suffix == ".py":
            yield path
        elif path.is_dir() and (path / "__init__.py").is_file():
            yield from sorted(file for file in path.rglob("*.py") if file.is_file())
