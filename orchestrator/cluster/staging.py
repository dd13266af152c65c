"""Copies our packages, the user's code and what belongs to it into one folder that is sent to other hosts.

`jobs.staged` defines the layout there; a host that has the same files uses its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs.staged import FOLDER, job_file, on_this_host, users_folder
from orchestrator.cluster.belongings import Belongings, belongings, told
from orchestrator.errors import UsageError
from workers.session import PACKAGES

OUR_PACKAGES = ("orchestrator", "workers", "jobs")
MAX_USER_BYTES = 20 << 20


def stage(
    folder: Path, job: str, directory: str, include: Sequence[str] | None = None, *, for_driver: bool = False
) -> str | None:
    """Copy our packages and the Python code of `job` (a job reference) into `folder`; returns what a user should know.

    With `include`, patterns that may be none, what git tracks beside the job and what they match is copied too. What
    only a report needs, a megabyte, is left out unless `for_driver`.

    Raises:
        UsageError: the user's code is larger than `MAX_USER_BYTES`, or a pattern of `include` cannot be followed.
    """
    left_out = ("__pycache__",) if for_driver else ("__pycache__", "assets")
    for package in OUR_PACKAGES:
        shutil.copytree(PACKAGES / package, folder / package, ignore=shutil.ignore_patterns(*left_out))
    source = _code_folder(job, directory)
    if source is None:
        if include:
            raise UsageError(f"include: {job} is built in or installed, so there is no folder to include files from.")
        return None
    code = list(_modules(source))
    if sum(file.stat().st_size for file in code) > MAX_USER_BYTES:
        raise UsageError(
            f"The Python files in {source} and its packages are larger than {MAX_USER_BYTES >> 20} MiB, too "
            "much to send to other hosts: keep the job and what it imports in a folder of their own."
        )
    found = belongings(source, include, code) if include is not None else Belongings()
    for file in (*code, *found.files):
        copy = folder / FOLDER / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    return told(source, found)


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
