"""What a warm machine was started with, and whether a command may use it: everything that its own start would read.

A replica forked from a warm zygote is what the import of TensorFlow made of an earlier environment. If that differs
from the command's, a run could be a different one without a word: with another precision from `keras.json`, other flags
of XLA, or the code from before an edit. So all of it is compared, and values that may be secret as digests only.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import resource
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.cluster import token
from orchestrator.doctor import machine
from orchestrator.errors import UsageError
from workers.session import PACKAGES

READ_AT_IMPORT = re.compile(
    r"(TF|XLA|KERAS|CUDA|CUDNN|NVIDIA|NCCL|OPENBLAS|GOTO|OMP|KMP|MKL|BLIS|DNNL|ONEDNN|NUMEXPR|NPY|PYTHON|LD|MALLOC|GLIBC"
    r"|ABSL|GRPC|RAY|LC|PROTOCOL_BUFFERS|ARROW|JE_ARROW)_.*|TF2_BEHAVIOR|PYTHON[A-Z]+|.*_VISIBLE_(DEVICES|CORES)|LANG"
    r"|LANGUAGE|TZ|HOME|TMPDIR|GLIBC_TUNABLES"
)
"""Variables that Python, TensorFlow, its libraries or Ray read when they are imported or started."""
_FIRST = ("tensorflow", "keras", "ray", "numpy")
_OTHER_PYTHON = "it has another Python ({there}; here {here})"


@dataclass(frozen=True)
class Facts:
    """What a start of Ray and a zygote depends on."""

    user: str
    python: str
    packages: Mapping[str, str]
    """Versions of what is installed, by name."""
    source: str
    """A digest of the names, sizes and times of Regatta's own files."""
    installed: str
    """A digest of the times at which packages were installed."""
    environment: Mapping[str, str]
    """Digests by the names of variables that match `READ_AT_IMPORT`."""
    files: Mapping[str, str]
    """Digests of files that are read at the start."""
    process: Mapping[str, str]
    """What a process inherits besides its environment: limits, cores, umask."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def difference(there: Facts, here: Facts) -> str | None:
    """Why a machine that was started with `there` is not what a command with `here` would start, as a clause; or None.

    The gravest reason first, and only that one.
    """
    if there.user != here.user:
        return f"it is another user's ({there.user})"
    if there.python != here.python:
        return _OTHER_PYTHON.format(there=there.python, here=here.python)
    if names := _differing(there.packages, here.packages):
        name = next((name for name in _FIRST if name in names), names[0])
        was, now = (facts.packages.get(name, "none") for facts in (there, here))
        return f"it has another version of {name} ({was}; here {now})"
    if there.source != here.source:
        return "Regatta's own code was changed since"
    if there.installed != here.installed:
        return "packages were installed since"
    for kind, was_here in (
        ("environment", "it was started with other values of {}"),
        ("files", "{} changed since"),
        ("process", "it was started with another {}"),
    ):
        if names := _differing(getattr(there, kind), getattr(here, kind)):
            return was_here.format(", ".join(names))
    return None


def collect(environ: Mapping[str, str] | None = None) -> Facts:
    """The facts of this process. Reads the times of some 700 files, in 20 ms."""
    packages, times = _installed()
    environ = os.environ if environ is None else environ
    matching = {name: value for name, value in environ.items() if READ_AT_IMPORT.fullmatch(name)}
    if (path := matching.get("PYTHONPATH")) is not None:
        matching["PYTHONPATH"] = absolute(path)
    return Facts(
        user=str(os.getuid()),
        python=f"{platform.python_version()} in {sys.prefix}",
        packages=packages,
        source=_digest("\n".join(sorted(_sources())).encode()),
        installed=times,
        environment={name: _digest(value.encode()) for name, value in sorted(matching.items())},
        files=_files(),
        process=_process(),
    )


def absolute(path: str) -> str:
    """A PYTHONPATH that means the same in another folder."""
    return os.pathsep.join(str(Path(part).absolute()) for part in path.split(os.pathsep) if part)


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]


def _sources() -> Iterator[str]:
    """A line for each of Regatta's own files."""
    for package in ("orchestrator", "workers", "jobs"):
        for folder, _, names in os.walk(PACKAGES / package):
            for name in names:
                if name.endswith(".py"):
                    found = os.stat(f"{folder}/{name}")  # noqa: PTH116 - many short reads, as in `descendants`
                    yield f"{folder}/{name} {found.st_mtime_ns} {found.st_size}"


def _installed() -> tuple[dict[str, str], str]:
    """Versions by name, from the names of their folders, and a digest of when these were written.

    `importlib.metadata` reads and parses a file for each: 0.1 s for eight packages.
    """
    found, times = {}, []
    for folder in sys.path:
        if folder.endswith(("site-packages", "dist-packages")) and Path(folder).is_dir():
            for entry in os.scandir(folder):
                if entry.name.endswith(".dist-info"):
                    name, _, version = entry.name.removesuffix(".dist-info").partition("-")
                    found[name] = version
                    times.append(f"{name} {entry.stat().st_mtime_ns}")
    return found, _digest("\n".join(sorted(times)).encode())


def _files() -> dict[str, str]:
    """Digests of Keras' configuration, which chooses the precision, and of Ray's token."""
    found = {}
    home = os.environ.get("KERAS_HOME")
    try:
        configuration = (Path(home) if home else Path.home() / ".keras") / "keras.json"
        found["keras.json"] = _digest(configuration.read_bytes())
    except (OSError, RuntimeError):
        found["keras.json"] = "none"
    try:
        known = token.token()
    except UsageError:
        known = None
    found["Ray's token"] = "none" if known is None else _digest(known.encode())
    return found


def _process() -> dict[str, str]:
    cores, memory = machine.cores(), machine.memory()
    status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines()
    limits = {name: getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    return {
        "umask": next((line.split()[1] for line in status if line.startswith("Umask:")), "unknown"),
        "priority": str(os.nice(0)),
        "set of cores": ",".join(map(str, sorted(os.sched_getaffinity(0)))),
        "CPU quota": str(cores.quota),
        "limit of memory": str(memory and memory.total),
        **{name: str(resource.getrlimit(kind)) for name, kind in limits.items()},
    }
