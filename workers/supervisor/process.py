"""Starts and ends a replica's process: forked from the host's zygote, or spawned as a new interpreter."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

from workers import files
from workers.session import MAX_REQUEST, SESSION_MARK, peer_of, python_environment, session_directory, zygote_address

TASK = "workers.task.main"
"""The module of a task's process."""
_START_SECONDS = 20.0
IMPORTED = b"imported?"
"""A client's question, which a zygote answers once it has imported TensorFlow."""
NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Environment in which neither NumPy nor Arrow, which pandas imports where it is installed, starts a thread."""


class Process(Protocol):
    """A replica's process."""

    @property
    def pid(self) -> int | None:
        """None until it is known."""

    def kill(self) -> None:
        """End the process and its children at once."""

    def wait(self, seconds: float) -> int | None:
        """Wait up to `seconds` for the exit code, negative for a signal; None if the process still runs."""


def start_zygote(session: str) -> socket.socket:
    """A connection to this host's zygote for `session`, started if there is none; keeps it alive while open.

    The zygote is no child of this process: Ray ends the children of an actor with it, and all tasks of a host are
    forked from one zygote. Of two that are started at once, the one that does not get the address ends.

    Raises:
        OSError: it did not start, or another user's process has taken its address.
    """
    address = zygote_address(session)
    client = _connect(address)
    if client is not None:
        return client
    log_path = session_directory(session) / "zygote.log"
    with files.append(log_path, 0o600) as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "workers.supervisor.zygote", session],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=python_environment() | NO_THREADS | {SESSION_MARK: session},
        )
    deadline = time.monotonic() + _START_SECONDS
    if process.wait(_START_SECONDS) == 0:
        while time.monotonic() < deadline:
            client = _connect(address)
            if client is not None:
                return client
            time.sleep(0.01)
    raise OSError(f"the zygote, which tasks are forked from, did not start; see {log_path}")


def await_import(zygote: socket.socket, seconds: float) -> bool:
    """Whether the zygote at the other end of a connection has imported TensorFlow within `seconds`."""
    zygote.settimeout(seconds)
    try:
        zygote.send(IMPORTED)
        return bool(zygote.recv(4096))
    except OSError:
        return False


def sweep(session: str) -> None:
    """Kill every other process that was started with the mark of `session`; see `marked`."""
    for pid in marked(session):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def marked(session: str) -> list[int]:
    """Every other process with the mark of `session`, or of a command on its warm machine, in its environment."""
    mark, found = f"{SESSION_MARK}={session}".encode(), list[int]()
    for entry in Path("/proc").glob("[0-9]*") if session else ():
        with contextlib.suppress(OSError):
            variables = (entry / "environ").read_bytes().split(b"\0")
            if any(variable == mark or variable.startswith(mark + b"+") for variable in variables):
                found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]


def _connect(address: str) -> socket.socket | None:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        client.connect(address)
    except OSError:
        client.close()
        return None
    user = peer_of(client)[1]
    if user != os.getuid():
        client.close()
        raise OSError(f"user {user} has taken the address of this session's zygote")
    return client


class ForkedProcess:
    """A replica forked from the zygote. The constructor returns at once, however busy the zygote is."""

    def __init__(
        self, session: str, env: dict[str, str], cwd: str, control: socket.socket, log: int, main: str = TASK
    ) -> None:
        request = json.dumps({"env": env, "cwd": cwd, "main": main}).encode()
        if len(request) > MAX_REQUEST:
            raise OSError(f"the environment is too large to pass on: {len(request)} bytes of {MAX_REQUEST}")
        self._zygote = start_zygote(session)
        socket.send_fds(self._zygote, [request], [control.fileno(), log])
        self._pid: int | None = None
        self._exit: int | None = None

    @property
    def pid(self) -> int | None:
        self._receive(0)
        return self._pid

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            self._zygote.shutdown(socket.SHUT_WR)

    def wait(self, seconds: float) -> int | None:
        deadline = time.monotonic() + seconds
        while self._exit is None and self._receive(max(0.0, deadline - time.monotonic())):
            pass
        return self._exit

    def _receive(self, seconds: float) -> bool:
        """Receive one message from the zygote; False if there is none within `seconds`."""
        if self._exit is not None:
            return False
        self._zygote.settimeout(seconds)
        try:
            message = self._zygote.recv(4096)
        except (BlockingIOError, TimeoutError):
            return False
        except OSError:
            message = b""
        # The connection closed: the zygote ended, and the kernel killed the replica with it (parent-death signal).
        answer = json.loads(message) if message else {"exit": -signal.SIGKILL}
        self._pid = answer.get("pid", self._pid)
        self._exit = answer.get("exit")
        return True


class SpawnedProcess:
    """A replica in a new interpreter, where forking is not available or not yet trusted (GPUs)."""

    def __init__(self, env: dict[str, str], cwd: str, control: socket.socket, log: int, main: str = TASK) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", main, str(control.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            cwd=cwd if Path(cwd).is_dir() else None,
            pass_fds=[control.fileno()],
            start_new_session=True,
        )
        self.pid: int | None = self._process.pid

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # children that outlive it are killed as well
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self, seconds: float) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None


def start(
    session: str,
    env: dict[str, str],
    cwd: str,
    control: socket.socket,
    log: int,
    *,
    gpus: float,
    main: str = TASK,
) -> Process:
    """Start a replica's process, in `cwd` if that exists, with the descriptors `control` and `log`.

    It calls the function `main` of the module `main` with the control socket's descriptor.
    Replicas with GPUs are spawned: in theory a fork does not touch CUDA, but that was never tested on hardware.
    """
    if sys.platform == "linux" and gpus == 0:
        return ForkedProcess(session, env, cwd, control, log, main)
    return SpawnedProcess(env, cwd, control, log, main)
