"""Connections to the processes of served models, on which many requests may be under way."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import itertools
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workers.serving.frames import START, Frame, pack, unpack

_HELLO_SECONDS = 10.0
_HELLO_BYTES = 10_000


class ModelLine:
    """A connection to one process."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Frame]] = {}
        self.closed = False
        self.ended = asyncio.get_running_loop().create_task(self._read())
        """Done when the process, or the connection, has ended."""

    @property
    def busy(self) -> int:
        """Requests that are not answered yet."""
        return len(self._asked)

    async def ask(self, head: Mapping[str, Any], arrays: Mapping[str, Any]) -> Frame:
        """The answer; raises ConnectionError if the process ends before it has answered."""
        if self.closed:
            raise ConnectionResetError
        number = next(self._numbers)
        self._writer.write(pack(Frame(number, head, arrays)))
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            return await answer
        finally:
            self._asked.pop(number, None)

    async def _read(self) -> None:
        try:
            while True:
                frame = await read(self._reader)
                asked = self._asked.get(frame.number)
                if asked is not None and not asked.done():  # else it was given up
                    asked.set_result(frame)
        except (OSError, EOFError, ValueError):
            pass
        finally:
            self.closed = True
            self._writer.close()
            for answer in self._asked.values():
                if not answer.done():
                    answer.set_exception(ConnectionResetError())


async def read(reader: asyncio.StreamReader, most: int | None = None) -> Frame:
    """The next frame; raises EOFError if the other end has closed, ValueError if it has more than `most` bytes."""
    number, head, body = START.unpack(await reader.readexactly(START.size))
    if most is not None and head + body > most:
        raise ValueError(f"a frame of {head + body:,} bytes, where {most:,} are expected")
    return unpack(number, await reader.readexactly(head), await reader.readexactly(body))


class ModelLines:
    """The connections that the processes of models have opened to this server."""

    def __init__(self) -> None:
        self._lines: dict[str, set[ModelLine]] = {}
        self._secret = secrets.token_urlsafe(32)
        self._server: asyncio.Server | None = None
        self._where: dict[str, Any] = {}

    async def listen(self, folder: Path | None, host: str | None) -> None:
        """Listen on a socket in `folder`, for processes of this host, or else at `host`, an address of this one."""
        if folder is not None:
            self._where = {"path": str(folder / "models.sock")}
            self._server = await asyncio.start_unix_server(self._opened, self._where["path"])
        elif host is not None:
            self._server = await asyncio.start_server(self._opened, host, 0)
            self._where = {"host": host, "port": self._server.sockets[0].getsockname()[1]}

    def address(self, model: str) -> dict[str, Any] | None:
        """What a process of `model` needs to connect; None if this server cannot be reached."""
        return {**self._where, "secret": self._secret, "model": model} if self._where else None

    def least_busy(self, model: str) -> ModelLine | None:
        """None if no process of `model` is connected."""
        lines = (line for line in self._lines.get(model, ()) if not line.closed)
        return min(lines, key=lambda line: line.busy, default=None)

    async def _opened(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            hello = await asyncio.wait_for(read(reader, _HELLO_BYTES), _HELLO_SECONDS)
            known = hmac.compare_digest(hello.head["secret"].encode(), self._secret.encode())
        except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError):  # not one of ours
            known = False
        if not known:
            writer.close()
            return
        with contextlib.suppress(OSError):
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = ModelLine(reader, writer)
        lines = self._lines.setdefault(hello.head["model"], set())
        lines.add(line)
        await asyncio.wait([line.ended])
        lines.discard(line)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
