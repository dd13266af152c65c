"""The zygote: one process per host that has imported TensorFlow and forks replicas in milliseconds.

`import tensorflow, keras` costs 3-7 CPU-seconds and 500 MB in every process. Here it is paid once per host:
measured on 2 cores, a forked replica creates its strategy 0.1 s after the request, and shares the imported pages.
Forking is safe because importing starts no thread (`process.NO_THREADS` holds NumPy and Arrow back too) and touches no
device; both are checked by a test. The zygote itself never runs a TensorFlow operation.

Protocol: an abstract SOCK_SEQPACKET unix socket, for processes of this user. A client sends one JSON request with two
file descriptors (the replica's control socket, its log) and gets `{"pid": n}`, later `{"exit": status}`. When the
client's end closes or is shut down, for whatever reason, its replica is killed: no replica outlives its supervisor.
When no client is left, the zygote kills all other processes with the session's mark, and ends: if the driver itself was
killed, Ray's agents would otherwise stay for a minute (they try to reach a head that is gone).
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
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

from workers.session import MAX_REQUEST, SESSION_MARK, peer_of, remove_directories, session_directory, zygote_address
from workers.supervisor.lazy_imports import PLOTTING_AND_WRAPPERS, import_lazily
from workers.supervisor.process import IMPORTED, sweep

IDLE_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1
_LEFT_TO_THE_DRIVER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that ask a whole host to end. The zygote ends once it has no clients, so after the last checkpoint."""


def main() -> None:
    """Serve the session named on the command line, in a process whose parent ends at once."""
    zygote = Zygote(sys.argv[1])
    if not zygote.bind() or os.fork():
        os._exit(0)
    zygote.serve()


class Zygote:
    """The server's side of the socket."""

    def __init__(self, session: str) -> None:
        self._session = session
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, socket.socket] = {}
        self._clients: set[socket.socket] = set()

    def bind(self) -> bool:
        """Take the session's address, before the import, so that clients can connect meanwhile; False if another
        zygote has it."""
        try:
            self._listener.bind(zygote_address(self._session))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        self._listener.listen(256)
        return True

    def serve(self) -> None:
        """Fork replicas until no client is left."""
        wake_read, wake_write = socket.socketpair()
        wake_read.setblocking(False)
        wake_write.setblocking(False)
        signal.set_wakeup_fd(wake_write.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for signum in _LEFT_TO_THE_DRIVER:
            signal.signal(signum, signal.SIG_IGN)
        # Blocked too, so that one for a replica that has just been forked waits until it listens.
        signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_TO_THE_DRIVER)
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
                    self._serve_client(source)
            self._reap()
            if self._clients:
                last_busy = time.monotonic()
        sweep(os.environ.get(SESSION_MARK, ""))
        remove_directories(self._session)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if peer_of(client)[1] != os.getuid():
            client.close()
            return
        self._clients.add(client)
        self._selector.register(client, selectors.EVENT_READ)

    def _serve_client(self, client: socket.socket) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(client, MAX_REQUEST, 2)
        except OSError:
            message, descriptors = b"", []
        if not message:
            self._drop(client)
            return
        if message == IMPORTED:
            self._send(client, {"imported": 1})
            return
        zygote = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            print(f"cannot fork a replica: {error}", file=sys.stderr)  # noqa: T201 - the zygote's log
            for descriptor in descriptors:
                os.close(descriptor)
            self._send(client, {"exit": 1})
            return
        if pid == 0:
            self._become_replica(zygote, json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        self._children[pid] = client
        self._send(client, {"pid": pid})

    def _drop(self, client: socket.socket) -> None:
        """Kill the replica of a client that has closed or shut down its end; `_reap` answers when it has ended."""
        self._selector.unregister(client)
        replicas = [pid for pid, owner in self._children.items() if owner is client]
        for pid in replicas:
            kill_group(pid)
        if not replicas:
            self._close(client)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            client = self._children.pop(pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)  # the replica's own children
            shutil.rmtree(self._temporary(pid), ignore_errors=True)
            self._send(client, {"exit": os.waitstatus_to_exitcode(status)})
            with contextlib.suppress(KeyError):
                self._selector.unregister(client)
            self._close(client)

    def _close(self, client: socket.socket) -> None:
        self._clients.discard(client)
        client.close()

    def _send(self, client: socket.socket, message: dict[str, int]) -> None:
        with contextlib.suppress(OSError):
            client.send(json.dumps(message).encode())

    def _temporary(self, pid: int) -> Path:
        """A replica's folder for temporary files: AutoGraph leaves one per function it converts."""
        return session_directory(self._session) / f"tmp-{pid}"

    def _become_replica(self, zygote: int, request: dict[str, Any], control: int, log: int) -> NoReturn:
        code = 1
        try:
            os.setsid()
            die_with_parent(zygote)
            os.dup2(log, 1)
            os.dup2(log, 2)
            signal.set_wakeup_fd(-1)
            for signum in (signal.SIGCHLD, *_LEFT_TO_THE_DRIVER):
                signal.signal(signum, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _LEFT_TO_THE_DRIVER)
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
            code = importlib.import_module(request["main"]).main(control)
        finally:
            with contextlib.suppress(ValueError, OSError):  # the job has closed them
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)


def preload() -> None:
    """Import what every replica needs, without starting a thread or opening a device."""
    import_lazily(*PLOTTING_AND_WRAPPERS)

    import keras  # noqa: F401
    import tensorflow  # noqa: F401

    import workers.task.main
    import workers.training.evaluator
    import workers.training.loop  # noqa: F401
    from workers.modes.registry import MODES

    for mode in MODES.values():
        if mode.implementation is not None:
            mode.load()
    gc.collect()
    gc.freeze()  # a collection in a replica would write to every shared page, and so copy it


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends (Linux), and exit if it has ended already."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def kill_group(leader: int) -> None:
    """Kill a replica and its children: first by its pid, because it may not lead its process group yet."""
    for kill in (os.kill, os.killpg):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(leader, signal.SIGKILL)


if __name__ == "__main__":
    main()
