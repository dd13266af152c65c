"""A replica of one version of a model, as Ray Serve runs it: the supervisor of a process that has loaded the model."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import Mapping
from typing import Any

from orchestrator.cluster.model_line import ModelLine
from workers import files
from workers.serving.frames import Frame, receive, send
from workers.session import python_environment, session_directory
from workers.supervisor import process as processes


class ServedVersion:
    """The class of the deployment. Its process is forked from its host's zygote: TensorFlow is imported once."""

    def __init__(self, path: str, session: str | None = None, server: Mapping[str, Any] | None = None) -> None:
        """Load the SavedModel in folder `path`, in a process that connects to `server` and is forked from the zygote
        of `session`; of this model, if there is none."""
        session = session or f"model-{hashlib.sha256(path.encode()).hexdigest()[:16]}"
        folder = session_directory(session)
        own, theirs = socket.socketpair()
        with theirs, files.append(folder / f"model-{os.getpid()}.log", 0o600) as log:
            self._process = processes.start(
                session, python_environment(), str(folder), theirs, log.fileno(), gpus=0, main="workers.serving.process"
            )
        self._own = own
        self._connecting = asyncio.Lock()
        self._line: ModelLine | None = None
        send(own, Frame(0, {"path": path, "server": server}))
        described = receive(own)
        self._described: Mapping[str, Any] = (
            {"error": f"its process has ended; see {folder} on {socket.gethostname()}", "pid": self._process.pid}
            if described is None
            else described.head
        )

    async def describe(self) -> Mapping[str, Any]:
        """`signatures`, `notes` and `pid`, or why it could not be loaded as `error`."""
        return self._described

    async def answer(self, signature: str, inputs: dict[str, Any]) -> tuple[str, Any]:
        """The outputs of a signature, or an error: see `workers.serving.model.answer`."""
        if self._described["error"] is not None:
            return "UNAVAILABLE", f"The version could not be loaded again: {self._described['error']}"
        return outcome(await (await self._connected()).ask({"signature": signature}, inputs))

    async def check_health(self) -> None:
        """Return when the process answers: Ray Serve replaces a replica whose check takes too long."""
        if self._described["error"] is None:
            await (await self._connected()).ask({}, {})

    async def _connected(self) -> ModelLine:
        async with self._connecting:
            if self._line is None:
                self._line = ModelLine(*await asyncio.open_unix_connection(sock=self._own))
                # Ray Serve replaces a replica that has ended at once, and one that only says so after three checks.
                self._line.ended.add_done_callback(lambda _: os._exit(1))
        return self._line


def outcome(frame: Frame) -> tuple[str, Any]:
    """`("OK", outputs)`, or the name of a gRPC status and a sentence."""
    status = frame.head["status"]
    return status, frame.arrays if status == "OK" else frame.head["message"]
