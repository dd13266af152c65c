"""The Ray that a command starts on its host: its folder, memory, and signals."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import UsageError
from workers.session import LONGEST_SOCKETS, SESSION_MARK, open_to_others, short_directory
from workers.telemetry.descendants import descendants

_RANDOM_NAME = "/r12345678"
SYSTEM_CONFIG = {"worker_niceness": 0}
"""Ray gives its workers a niceness of 15. Those here are supervisors, which hardly compute but have to answer: on a
busy host they would starve behind the tasks that they watch, and count as lost."""
_START_SECONDS = 120.0
"""Twenty processes on two cores made a raylet take more than 30 s."""


def private_folder(session: str) -> str:
    """Create a folder for Ray's files: in `/tmp/ray` (mode 0777) other users could replace its sockets and code."""
    if (kept := os.environ.get("RAY_TMPDIR")) is not None:
        if len(kept) > LONGEST_SOCKETS - len(_RANDOM_NAME):
            raise UsageError(
                f"RAY_TMPDIR: {kept} is too long: Ray's sockets need a path of at most "
                f"{LONGEST_SOCKETS - len(_RANDOM_NAME)} characters. Choose another folder, or unset it."
            )
        Path(kept).mkdir(mode=0o700, parents=True, exist_ok=True)
        if (problem := open_to_others(Path(kept))) is not None:
            raise UsageError(f"RAY_TMPDIR: {problem}. Run `chmod go-w {kept}`, or choose another folder, or unset it.")
        return tempfile.mkdtemp(prefix="r", dir=kept)
    return str(short_directory(session, LONGEST_SOCKETS))


@contextlib.contextmanager
def marked(session: str) -> Iterator[None]:
    """Mark processes that are started inside with the session; see `workers.supervisor.zygote`."""
    before = os.environ.get(SESSION_MARK)
    os.environ[SESSION_MARK] = session
    try:
        yield
    finally:
        os.environ.pop(SESSION_MARK, None)
        if before is not None:
            os.environ[SESSION_MARK] = before


@contextlib.contextmanager
def own_signal_handlers() -> Iterator[None]:
    """Keep the command's SIGTERM handler, which `ray.init` would replace by an exit with code 15.

    SIGTERM and SIGHUP are blocked meanwhile, and Ray's processes inherit that: a scheduler that takes the machine away,
    or a terminal that is closed, sends them to all processes, and Ray's have to live until the last checkpoint is
    written.
    """
    before = signal.getsignal(signal.SIGTERM)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP, signal.SIGTERM])
    try:
        yield
    finally:
        # In this order: Ray's own handler aborts this process for a signal that has waited.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@contextlib.contextmanager
def patient(ray: Any) -> Iterator[None]:
    """Give the raylet `_START_SECONDS` to register; Ray gives up after 30 s, and has no setting for it (2.60)."""
    services = ray._private.services
    ask = services.get_node

    def get_node(*arguments: Any) -> Any:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                return ask(*arguments)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    services.get_node = get_node
    try:
        yield
    finally:
        services.get_node = ask


@contextlib.contextmanager
def ended_at_once(ray: Any) -> Iterator[None]:
    """Have `ray.shutdown`, inside, kill this host's Ray: SIGTERM is blocked, and it waits a second for each.

    Afterwards the raylet's processes are killed, which it would have ended.
    """
    processes = [info.process for infos in ray._private.worker._global_node.all_processes.values() for info in infos]
    children = [pid for process in processes for pid in descendants(process.pid)]
    for process in processes:
        process.terminate = process.kill
    yield
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def start(ray: Any, session: str, folder: str, working_folder: str, cpus: int, common: Mapping[str, Any]) -> None:
    """Start Ray on this host with its files in `folder`, and connect this process to it."""
    with contextlib.chdir(working_folder), own_signal_handlers(), marked(session), patient(ray):
        ray.init(
            address="local",
            _temp_dir=folder,
            num_cpus=cpus,
            include_dashboard=False,
            object_store_memory=object_store_bytes(),
            _system_config=SYSTEM_CONFIG,
            **common,
        )


def dead() -> str | None:
    """Which process of the Ray that this process has started has ended, as a clause; None if all run."""
    import ray

    for name, infos in ray._private.worker._global_node.all_processes.items():
        if any(info.process.poll() is not None for info in infos):
            return f"its Ray has lost its {name}"
    return None


def object_store_bytes() -> int:
    """Size of the object store, through which snapshots pass one at a time; Ray's default is 30 % of memory."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return int(max(200 << 20, min(4 << 30, 0.1 * pages * size)))
