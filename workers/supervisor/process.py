"""Starts and ends a replica's process: forked from the host's zygote, or spawned as a new interpreter."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Protocol

from workers.session import MAX_REQUEST, SESSION_MARK, python_environment, session_directory


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
    """Connect to this host's zygote for `session`, starting it if necessary. It stays alive while a connection is open.

    Raises:
        OSError: the zygote did not start.
    """
    directory = session_directory(session)
    path = directory / "zygote.sock"
    with (directory / "zygote.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        client = _connect(path)
        if client is not None:
            return client
        path.unlink(missing_ok=True)
        with (directory / "zygote.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "workers.supervisor.zygote", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=python_environment() | {SESSION_MARK: session, "OPENBLAS_NUM_THREADS": "1"},
            )
        # A thread reaps it; otherwise it would stay a zombie while this process lives.
        threading.Thread(target=process.wait, daemon=True).start()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and process.returncode is None:
            client = _connect(path)
            if client is not None:
                return client
            time.sleep(0.01)
    raise OSError(f"the process that replicas are forked from did not start; see {directory / 'zygote.log'}")


def _connect(path: Path) -> socket.socket | None:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        client.connect(str(path))
    except OSError:
        client.close()
        return None
    return client


class ForkedProcess:
    """A replica forked from the zygote. The constructor returns at once, however busy the zygote is."""

    def __init__(self, session: str, env: dict[str, str], cwd: str, control: socket.socket, log: int) -> None:
        request = json.dumps({"env": env, "cwd": cwd}).encode()
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

    def __init__(self, env: dict[str, str], cwd: str, control: socket.socket, log: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "workers.task.main", str(control.fileno())],
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


def start(session: str, env: dict[str, str], cwd: str, control: socket.socket, log: int, *, gpus: float) -> Process:
    """Start a replica's process, in `cwd` if that exists, with the descriptors `control` and `log`.

    Replicas with GPUs are spawned: in theory a fork does not touch CUDA, but that was never tested on hardware.
    """
    if sys.platform == "linux" and gpus == 0:
        return ForkedProcess(session, env, cwd, control, log)
    return SpawnedProcess(env, cwd, control, log)
