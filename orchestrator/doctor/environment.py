"""The environment of a run: versions, processor, memory, commits. Enough to reproduce the run."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

from orchestrator.doctor import machine

PACKAGES = ("tensorflow", "keras", "ray", "numpy", "pydantic", "tensorboard", "protobuf", "grpcio")
_GIT_SECONDS = 5.0


def environment(directory: Path | None = None, root: Path = machine.ROOT) -> dict[str, Any]:
    """Facts about this machine and installation, as JSON; unknown ones are null.

    `directory` is the folder of the job's code, for its commit; None for the current folder. Reads files and
    runs git; takes about 50 ms. Names neither the host nor the user.
    """
    found = machine.cores(root)
    memory = machine.memory(root)
    return {
        "regatta": version("regatta"),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpu": {
            "model": cpu_model(root),
            "cores": found.machine,
            "usable": found.usable,
        },
        "memory_bytes": None if memory is None else memory.total,
        "commit": {
            "regatta": commit(Path(__file__).parent, Path(__file__).name),
            "job": commit(directory or Path.cwd()),
        },
    }


def version(package: str) -> str | None:
    """The installed version, without importing the package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def cpu_model(root: Path = machine.ROOT) -> str | None:
    """The kernel's name of the processor: `model name` on x86, `Hardware` or the implementer's codes elsewhere."""
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    for key in ("model name", "Hardware", "cpu"):
        if facts.get(key):
            return facts[key]
    return platform.processor() or platform.machine() or None


def commit(directory: Path, tracked: str | None = None) -> str | None:
    """The commit checked out in `directory`, with a `+` if tracked files differ; None outside a repository.

    If `tracked` is given, only the commit of a repository that has that file counts: a virtual environment may
    lie in another project's repository.
    """
    if tracked is not None and not _git(directory, "ls-files", "--", tracked):
        return None
    head = _git(directory, "rev-parse", "--verify", "HEAD")
    if not head:
        return None
    changed = _git(directory, "status", "--porcelain", "--untracked-files=no")
    return f"{head}+" if changed else head


def _git(directory: Path, *arguments: str) -> str | None:
    # A repository's own configuration may name programs to run: disable them.
    safe = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--no-optional-locks")
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *safe, *arguments],  # noqa: S607 - git of the user's own PATH
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
