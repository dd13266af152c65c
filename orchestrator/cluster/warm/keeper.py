"""The keeper: the process of `regatta up`. It owns Ray and a client's end of the zygote, and both end with it.

The kernel kills Ray's head with the thread that started it, and the zygote kills what is left once its last client is
gone: also after `kill -9` of this process. It never trains, imports no TensorFlow and runs no job's code. A connection
to it is a lease: while one is open it does not end by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.cluster import own_ray
from orchestrator.cluster.connection import RayBackend
from orchestrator.cluster.warm.facts import Facts
from orchestrator.cluster.warm.state import State, keeper_address, send
from orchestrator.errors import RegattaError
from orchestrator.spec.run import RunSpec
from workers.session import peer_of, remove_directories, session_directory
from workers.supervisor.process import await_import, start_zygote, sweep

CPUS = 4096
"""Tasks of all commands share this host's cores, as without a warm machine, so Ray must not run out of them."""
_IMPORT_SECONDS = 300.0
_LOOK_SECONDS = 1.0
_MAX_QUESTION = 4096


def main() -> None:
    """Keep a machine warm for the session and the seconds named on the command line; the facts are on stdin.

    The one line on stdout is empty when all is ready, otherwise why it is not.
    """
    session, seconds = sys.argv[1], float(sys.argv[2])
    facts = Facts(**json.loads(sys.stdin.read()))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listener.bind(keeper_address())
    except OSError:
        _answer("another one is being started")
        os._exit(0)
    problem = ""
    try:
        with start_zygote(session) as zygote, RayBackend(session, RunSpec(job="digits"), (), cpus=CPUS) as ray:
            if not await_import(zygote, _IMPORT_SECONDS):
                problem = f"TensorFlow was not imported: {_last_line(session_directory(session) / 'zygote.log')}"
            else:
                Keeper(session, ray.address, listener, zygote, facts, seconds, own_ray.dead).serve()
    except (RegattaError, OSError) as error:
        problem = str(error)
    finally:
        listener.close()
        sweep(session)
        remove_directories(session)
        with contextlib.suppress(OSError):
            _answer(problem)
        os._exit(0)  # Ray's exit handlers would wait for a head that is lost


class Keeper:
    """The server's side of the socket."""

    def __init__(
        self,
        session: str,
        address: str,
        listener: socket.socket,
        zygote: socket.socket,
        facts: Facts,
        seconds: float,
        dead: Callable[[], str | None],
    ) -> None:
        """`dead` names the process of Ray that has ended, if one has."""
        self._session = session
        self._address = address
        self._listener = listener
        self._zygote = zygote
        self._facts = facts
        self._until = time.monotonic() + seconds
        self._dead = dead
        self._leases: dict[socket.socket, str] = {}
        """The mark of each command's processes."""
        self._connections: set[socket.socket] = set()
        self._marks = 0
        self._problem: str | None = None
        self._ending = False
        self._now = False
        """Whether to end without waiting for commands."""

    def serve(self) -> None:
        """Answer until the time is up or something has failed, and no command is left."""
        wake_read, wake_write = socket.socketpair()
        wake_read.setblocking(False)
        wake_write.setblocking(False)
        signal.set_wakeup_fd(wake_write.fileno())
        signal.signal(signal.SIGTERM, lambda *_: None)
        for signum in (signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        self._listener.listen(64)
        selector = selectors.DefaultSelector()
        for watched in (self._listener, self._zygote, wake_read):
            selector.register(watched, selectors.EVENT_READ)
        _answer("")
        while not self._over():
            for key, _ in selector.select(timeout=_LOOK_SECONDS):
                source: Any = key.fileobj
                if source is self._listener:
                    client, _ = self._listener.accept()
                    if peer_of(client)[1] == os.getuid():
                        self._connections.add(client)
                        selector.register(client, selectors.EVENT_READ)
                    else:
                        client.close()
                elif source is wake_read:  # SIGTERM
                    self._now = True
                elif source is self._zygote:
                    selector.unregister(source)
                    self._problem = "its zygote has ended"
                elif not self._serve_client(source):
                    selector.unregister(source)
                    self._drop(source)
            self._problem = self._problem or self._dead()

    def _over(self) -> bool:
        if self._now:
            return True
        self._ending = self._ending or time.monotonic() >= self._until
        return not self._leases and (self._ending or self._problem is not None)

    def _serve_client(self, client: socket.socket) -> bool:
        """Answer a question; False if the client has gone."""
        try:
            question = json.loads(client.recv(_MAX_QUESTION) or b"null")
        except (OSError, ValueError):
            return False
        match question:
            case {"ask": "use"}:
                self._marks += 1
                self._leases[client] = f"{self._session}+{self._marks}"
                self._problem = self._problem or self._dead()
            case {"ask": "extend", "seconds": float(seconds)}:
                self._until, self._ending = max(self._until, time.monotonic() + seconds), False
            case {"ask": "end", "now": bool(now)}:
                self._ending, self._now = True, now
            case {"ask": "state"}:
                pass
            case _:
                return False
        with contextlib.suppress(OSError):
            send(client, self._state(client).to_json())
        return True

    def _state(self, client: socket.socket) -> State:
        return State(
            session=self._session,
            address=self._address,
            mark=self._leases.get(client, ""),
            pid=os.getpid(),
            seconds_left=max(0.0, self._until - time.monotonic()),
            commands=len(self._leases.keys() - {client}),
            problem=self._problem,
            ending=self._ending,
            facts=self._facts,
        )

    def _drop(self, client: socket.socket) -> None:
        """Kill what a command has left behind: its supervisors are gone, so the zygote has killed its tasks."""
        client.close()
        self._connections.discard(client)
        if (mark := self._leases.pop(client, None)) is not None:
            sweep(mark)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "its log is empty")


def _answer(line: str) -> None:
    """Write the one line that `up` waits for; later ones go nowhere."""
    os.write(1, " ".join(line.split()).encode() + b"\n")
    with open(os.devnull, "w") as null:  # noqa: PTH123 - a descriptor is wanted, not a file
        os.dup2(null.fileno(), 1)


if __name__ == "__main__":
    main()
