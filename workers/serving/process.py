"""The process of one served model, forked from the host's zygote.

Its supervisor, a replica of Ray Serve, names the model and the server on the control socket. Requests come on that
socket, and on a connection that this process opens to the server, which costs less than a call of Ray
(docs/adr/0016-requests-go-past-ray.md).
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from workers.serving.frames import Frame, receive, send
from workers.serving.model import Loaded, answer, load

CALLS = 2
"""Calls of the model at a time: one computes while the outputs of another are sent."""


def main(descriptor: int) -> int:
    """Serve until the supervisor closes its end of the socket `descriptor`; returns the exit code."""
    control = socket.socket(fileno=descriptor)
    asked = receive(control)
    if asked is None:
        return 0
    try:
        loaded = load(Path(asked.head["path"]))
    except Exception as error:  # noqa: BLE001 - TensorFlow's errors for what is no model have no common class
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
        send(control, Frame(asked.number, {"error": reason, "pid": os.getpid()}))
        return 0
    described = {"error": None, "signatures": loaded.signatures, "notes": loaded.notes, "pid": os.getpid()}
    calls = Calls(loaded)
    if (server := asked.head["server"]) is not None:
        threading.Thread(target=_serve_at, args=(calls, server), name="regatta-server", daemon=True).start()
    send(control, Frame(asked.number, described))
    calls.serve(control)
    os._exit(0)  # without waiting for calls whose answers are not wanted any more


def _serve_at(calls: Calls, server: Mapping[str, Any]) -> None:
    """Serve on a connection to the server, if it can be reached from here; else requests come by Ray."""
    try:
        if "path" in server:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(server["path"])
        else:
            connection = socket.create_connection((server["host"], server["port"]), 10)
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        send(connection, Frame(0, {"secret": server["secret"], "model": server["model"]}))
        calls.serve(connection)
    except OSError:
        return


class Calls:
    """Answers requests for a model, from any number of connections."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._threads = ThreadPoolExecutor(CALLS)

    def serve(self, connection: socket.socket) -> None:
        """Answer the requests of a connection, not always in their order, until its other end closes."""
        lock = threading.Lock()
        while (request := receive(connection)) is not None:
            if "signature" in request.head:
                self._threads.submit(self._answer, request, connection, lock)
            else:  # a question whether this process still works
                with lock:
                    send(connection, Frame(request.number, {"status": "OK"}))

    def _answer(self, request: Frame, connection: socket.socket, lock: threading.Lock) -> None:
        status, found = answer(self._loaded, request.head["signature"], request.arrays)
        if status == "OK":
            reply = Frame(request.number, {"status": "OK"}, found)
        else:
            reply = Frame(request.number, {"status": status, "message": found})
        try:
            with lock:
                send(connection, reply)
        except OSError:  # the server has gone
            return
        except ValueError as error:
            with lock:
                send(connection, Frame(request.number, {"status": "RESOURCE_EXHAUSTED", "message": str(error)}))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
