"""Starting and ending a replica's process: forked from the host's zygote, or spawned afresh."""

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
    @property
    def pid(self) -> int | None:
        """None while it is not known yet."""

    def kill(self) -> None:
        """End it at once, with its children."""

    def wait(self, seconds: float) -> int | None:
        """The exit code, negative for the signal that ended it; None if it still runs after `seconds`."""


def start_zygote(session: str) -> socket.socket:
    """A connection to this host's zygote for `session`, started if there is none; keeps it alive while open."""
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
                env=python_environment()
                | {SESSION_MARK: session, "OPENBLAS_NUM_THREADS": "1", "KERAS_BACKEND": "tensorflow"},
            )
        # Reaped by a thread of its own, or it would stay as a zombie while this process lives.
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
    """A replica forked from the zygote. Ordering it returns at once, however busy the zygote is."""

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
        """Take in one answer of the zygote's; False when there is none."""
        if self._exit is not None:
            return False
        self._zygote.settimeout(seconds)
        try:
            message = self._zygote.recv(4096)
        except (BlockingIOError, TimeoutError):
            return False
        except OSError:
            message = b""
        # No message: the zygote went away, and by its parent-death signal the replica with it.
        answer = json.loads(message) if message else {"exit": -signal.SIGKILL}
        self._pid = answer.get("pid", self._pid)
        self._exit = answer.get("exit")
        return True


class SpawnedProcess:
    """A replica in a fresh interpreter: where forking is not available, or not yet trusted (GPUs)."""

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
        with contextlib.suppress(ProcessLookupError):  # what it started may outlive it
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self, seconds: float) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None


def start(session: str, env: dict[str, str], cwd: str, control: socket.socket, log: int, *, gpus: float) -> Process:
    """Start a replica's process, in `cwd` where that exists; `control` and `log` are handed over to it.

    Replicas with GPUs are spawned: forking leaves CUDA untouched on paper, but that was never seen on hardware.
    """
    if sys.platform == "linux" and gpus == 0:
        return ForkedProcess(session, env, cwd, control, log)
    return SpawnedProcess(env, cwd, control, log)
