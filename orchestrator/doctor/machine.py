"""Facts about this machine: cores, memory, ports, disk, and what TensorFlow and NVML report in a child process.

Facts only; `checks` judges them. The kernel's files are read below a `root`, which tests replace.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from workers.session import LONGEST_OWN, open_to_others, own_folder

ROOT = Path("/")
GPU_REPORT = Path(__file__).parents[2] / "workers" / "telemetry" / "gpu_report.py"

# One child for both packages, because the import takes 5-7 s of CPU (see docs/architecture.md, "Import time").
_IMPORT_TENSORFLOW = """
import json, time
start = time.perf_counter()
import tensorflow
import keras
seconds = time.perf_counter() - start
print("\\n" + json.dumps({
    "tensorflow": tensorflow.__version__,
    "keras": keras.__version__,
    "gpus": len(tensorflow.config.list_physical_devices("GPU")),
    "seconds": seconds,
}))
"""


@dataclass(frozen=True)
class Cores:
    """Cores that this process may use, by the kernel's three limits."""

    machine: int
    affinity: int
    quota: float | None
    """CPU quota of the cgroup, in cores; None if there is no limit."""

    @property
    def usable(self) -> int:
        return max(1, min(self.affinity, math.ceil(self.quota) if self.quota else self.affinity))


@dataclass(frozen=True)
class Limits:
    """Limits of this user's processes; None for none."""

    processes: int | None
    files: int | None


@dataclass(frozen=True)
class Memory:
    """Bytes of the machine, or of the cgroup if it allows less."""

    total: int
    available: int


@dataclass(frozen=True)
class Ports:
    """TCP ports below the kernel's ephemeral range, which no outgoing connection takes by chance."""

    low: int
    high: int
    """First port of the ephemeral range; the ports tried are below it."""
    tried: int
    free: int


@dataclass(frozen=True)
class ChildAnswer:
    """The JSON document that a child process printed as its last line, or why it printed none."""

    answer: Mapping[str, Any] | None
    problem: str


def cores(root: Path = ROOT) -> Cores:
    """Cores of the machine, of the affinity mask and of the cgroup's quota."""
    machine = os.cpu_count() or 1
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    quotas = []
    for cgroup in _cgroups(root, "cpu"):
        limit = _read(cgroup / "cpu.max") or (
            f"{_read(cgroup / 'cpu.cfs_quota_us')} {_read(cgroup / 'cpu.cfs_period_us')}"
        )
        match limit.split():
            case [quota, period] if quota.isdigit() and period.isdigit():  # not "max", and not version 1's -1
                quotas.append(int(quota) / int(period))
    return Cores(machine, affinity, min(quotas, default=None))


def memory(root: Path = ROOT) -> Memory | None:
    """Total and available memory, of the cgroup if it allows less; None if the system does not report it."""
    lines = (line.split() for line in _read(root / "proc/meminfo").splitlines())
    kilobytes = {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) >= 2}
    if "MemTotal" in kilobytes:
        total = kilobytes["MemTotal"] * 1024
        available = kilobytes.get("MemAvailable", kilobytes.get("MemFree", 0)) * 1024
    elif {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= os.sysconf_names.keys():
        total = available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        return None
    for cgroup in _cgroups(root, "memory"):
        limit = _read(cgroup / "memory.max") or _read(cgroup / "memory.limit_in_bytes")
        used = _read(cgroup / "memory.current") or _read(cgroup / "memory.usage_in_bytes")
        if limit.isdigit() and used.isdigit():
            total = min(total, int(limit))
            available = min(available, max(0, int(limit) - int(used)))
    return Memory(total, available)


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of this process's cgroup and of all its parents, each of which may set a limit.

    In a container the path may be the host's, of which only a part is visible; a missing file reads as "".
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" or controller in controllers.split(","):
            mount = root / "sys/fs/cgroup" / ("" if number == "0" else controller)
            inside = PurePosixPath(path.lstrip("/"))
            yield from (mount / folder for folder in (inside, *inside.parents))


def ports(root: Path = ROOT, tries: int = 64) -> Ports:
    """Bind `tries` ports, one by one, spread over the range that replicas use (workers/addresses.py)."""
    configured = _read(root / "proc/sys/net/ipv4/ip_local_port_range").split()
    low, high = 15_000, int(configured[0]) if configured else 32_768
    numbers = range(low, high, max(1, (high - low) // tries))[:tries]
    # TensorFlow's server listens on [::]:port, which takes the port on every interface and for IPv4 too.
    anywhere = (socket.AF_INET6, "::") if _can_bind(socket.AF_INET6, "::", 0) else (socket.AF_INET, "")
    return Ports(low, high, len(numbers), sum(_can_bind(*anywhere, port) for port in numbers))


def _can_bind(family: socket.AddressFamily, host: str, port: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((host, port))
    except OSError:
        return False
    return True


def disk_free(folder: Path) -> tuple[Path, int, bool]:
    """The nearest existing parent of `folder`, its free bytes, and whether files can be created there."""
    nearest = folder.absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    return (
        nearest,
        shutil.disk_usage(nearest).free,
        nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK),
    )


def import_tensorflow(timeout: float = 180) -> ChildAnswer:
    """Import TensorFlow and Keras in a child: versions, the number of GPUs that TensorFlow can use, seconds."""
    return ask_child(["-c", _IMPORT_TENSORFLOW], timeout)


def gpu_report(timeout: float = 30) -> ChildAnswer:
    """Run workers/telemetry/gpu_report.py in a child."""
    return ask_child([str(GPU_REPORT)], timeout)


def ask_child(arguments: Sequence[str], timeout: float) -> ChildAnswer:
    """Run Python with `arguments` and read the last line of its output as JSON.

    The option `-P` keeps the child from importing a `types.py` or a `keras/` in the current folder instead.
    """
    environment = os.environ | {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": "tensorflow",
    }  # as replicas have it
    environment.pop("TF_CONFIG", None)
    try:
        child = subprocess.run(
            [sys.executable, "-P", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ChildAnswer(None, f"no answer within {timeout:g} s")
    if child.returncode == 0:
        with contextlib.suppress(IndexError, json.JSONDecodeError):
            return ChildAnswer(json.loads(child.stdout.splitlines()[-1]), "")
    last_words = (child.stderr.strip() or child.stdout.strip() or f"exit code {child.returncode}").splitlines()[-1]
    return ChildAnswer(None, last_words)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def limits() -> Limits:
    """Soft limits: `ulimit -u` and `ulimit -n`."""

    def soft(kind: int) -> int | None:
        value = resource.getrlimit(kind)[0]
        return None if value == resource.RLIM_INFINITY else value

    return Limits(soft(resource.RLIMIT_NPROC), soft(resource.RLIMIT_NOFILE))


def own_folder_problem() -> str | None:
    """Why the folder for sockets and logs, or RAY_TMPDIR, cannot be used; None if both can."""
    try:
        own_folder(LONGEST_OWN)
        kept = os.environ.get("RAY_TMPDIR")
        problem = open_to_others(Path(kept)) if kept and Path(kept).exists() else None
    except OSError as error:
        return str(error)
    return problem and f"RAY_TMPDIR: {problem}"
