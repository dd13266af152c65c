"""One process per host that has imported TensorFlow, and forks a replica in milliseconds when asked.

`import tensorflow, keras` costs 3-7 CPU-seconds and 500 MB in every process. Here it is paid once per host:
measured on 2 cores, a forked replica is at its strategy 0.1 s after the order, and shares the imported pages.
Forking is safe because importing starts no thread (OPENBLAS_NUM_THREADS=1 holds NumPy back too) and touches no
device; both are checked by a test. The zygote itself never runs a TensorFlow operation.

Wire: a SOCK_SEQPACKET unix socket. A client sends one JSON request with two file descriptors (the replica's
control socket, its log) and gets `{"pid": n}`, later `{"exit": status}`. When the client's end closes or is
shut down, for whatever reason, its replica is killed: nothing outlives its supervisor. With no client left,
the zygote kills what else bears the session's mark, and ends: where the driver itself was killed, Ray's agents
would otherwise stay for a minute (they try to tell a head that is gone).
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

from workers.session import MAX_REQUEST, SESSION_MARK
from workers.supervisor.lazy_imports import PLOTTING_AND_WRAPPERS, import_lazily

IDLE_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1


def main() -> None:
    Zygote(Path(sys.argv[1])).serve()


class Zygote:
    """The serving side."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, socket.socket] = {}
        self._clients: set[socket.socket] = set()

    def serve(self) -> None:
        self._listener.bind(str(self._path))  # before the import, so that clients can queue up meanwhile
        self._listener.listen(256)
        wake_read, wake_write = socket.socketpair()
        wake_read.setblocking(False)
        wake_write.setblocking(False)
        signal.set_wakeup_fd(wake_write.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        preload()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(wake_read, selectors.EVENT_READ)
        last_busy = time.monotonic()
        while self._clients or time.monotonic() - last_busy < IDLE_SECONDS:
            for key, _ in self._selector.select(timeout=1.0):
                source: Any = key.fileobj
                if source is self._listener:
                    self._accept()
                elif source is wake_read:
                    with contextlib.suppress(BlockingIOError):
                        wake_read.recv(4096)
                else:
                    self._hear(source)
            self._reap()
            if self._clients:
                last_busy = time.monotonic()
        sweep(os.environ.get(SESSION_MARK))
        shutil.rmtree(self._path.parent, ignore_errors=True)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        self._clients.add(client)
        self._selector.register(client, selectors.EVENT_READ)

    def _hear(self, client: socket.socket) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(client, MAX_REQUEST, 2)
        except OSError:
            message, descriptors = b"", []
        if not message:
            self._drop(client)
            return
        zygote = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            print(f"cannot fork a replica: {error}", file=sys.stderr)  # noqa: T201 - the zygote's log
            for descriptor in descriptors:
                os.close(descriptor)
            self._tell(client, {"exit": 1})
            return
        if pid == 0:
            self._become_replica(zygote, json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        self._children[pid] = client
        self._tell(client, {"pid": pid})

    def _drop(self, client: socket.socket) -> None:
        """The client is gone, or wants its replica gone: kill it, and say so when it is."""
        self._selector.unregister(client)
        mine = [pid for pid, owner in self._children.items() if owner is client]
        for pid in mine:
            kill_group(pid)
        if not mine:
            self._close(client)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            client = self._children.pop(pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)  # what the replica itself had started
            shutil.rmtree(self._temporary(pid), ignore_errors=True)
            self._tell(client, {"exit": os.waitstatus_to_exitcode(status)})
            with contextlib.suppress(KeyError):
                self._selector.unregister(client)
            self._close(client)

    def _close(self, client: socket.socket) -> None:
        self._clients.discard(client)
        client.close()

    def _tell(self, client: socket.socket, message: dict[str, int]) -> None:
        with contextlib.suppress(OSError):
            client.send(json.dumps(message).encode())

    def _temporary(self, pid: int) -> Path:
        """A replica's folder for temporary files: autograph leaves one per function it converts."""
        return self._path.parent / f"tmp-{pid}"

    def _become_replica(self, zygote: int, request: dict[str, Any], control: int, log: int) -> NoReturn:
        code = 1
        try:
            os.setsid()
            die_with_parent(zygote)
            os.dup2(log, 1)
            os.dup2(log, 2)
            signal.set_wakeup_fd(-1)
            for signum in (signal.SIGCHLD, signal.SIGINT):
                signal.signal(signum, signal.SIG_DFL)
            self._listener.close()
            self._selector.close()
            for client in self._clients:
                client.close()
            os.environ.clear()
            os.environ.update(request["env"])
            temporary = self._temporary(os.getpid())
            temporary.mkdir(mode=0o700)
            tempfile.tempdir = str(temporary)
            with contextlib.suppress(OSError):
                os.chdir(request["cwd"])
            from workers.task import main as task

            code = task.main(control)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def sweep(session: str | None) -> None:
    """Kill every process, but this one, that was started with the mark of `session` in its environment."""
    if not session:
        return
    mark = f"{SESSION_MARK}={session}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(entry.name) != os.getpid() and mark in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)


def preload() -> None:
    """Import what every replica needs, and nothing that starts a thread or opens a device."""
    import_lazily(*PLOTTING_AND_WRAPPERS)

    import keras  # noqa: F401
    import tensorflow  # noqa: F401

    import workers.task.main
    import workers.training.evaluator
    import workers.training.loop  # noqa: F401
    from workers.modes import async_, sync  # noqa: F401

    gc.collect()
    gc.freeze()  # a collection in a replica would write to, and so copy, every shared page


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends (Linux); it may have ended already."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def kill_group(leader: int) -> None:
    """Kill a replica and what it started; by its own pid first, as it may not lead its group yet."""
    for kill in (os.kill, os.killpg):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(leader, signal.SIGKILL)


if __name__ == "__main__":
    main()
