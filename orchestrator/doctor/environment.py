"""The environment of a run: versions, processor, memory, commits. Enough to reproduce the run."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

from orchestrator.doctor import machine
from orchestrator.doctor.commits import commit

PACKAGES = ("tensorflow", "keras", "ray", "numpy", "pydantic", "tensorboard", "protobuf", "grpcio")


def environment(directory: Path | None = None, root: Path = machine.ROOT) -> dict[str, Any]:
    """Facts about this machine and installation, as JSON; unknown ones are null.

    `directory` is the folder of the job's code, for its commit; None for the current folder. Only reads files; takes
    about 0.2 s. Names neither the host nor the user.
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
