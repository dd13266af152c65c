"""Clients that ask over HTTP/1.1 connections which stay open, and compare every answer with the offline prediction."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

CONNECTIONS = 128
"""More requests than these wait in the client, as with any client that keeps its connections."""
_TOLERANCE = 1e-4
"""Of probabilities and sums of a few numbers: a matrix product of several rows is rounded otherwise than one of one."""


@dataclass
class Outcome:
    """What the clients saw."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    """Seconds of each right answer, in the order in which they came."""
    asked: list[float] = field(default_factory=list)
    """When each was due (`time.perf_counter`)."""
    versions: list[int] = field(default_factory=list)
    """Which version each was of."""
    failed: list[str] = field(default_factory=list)
    """Status and beginning of every other answer, and lost connections."""
    wrong: int = 0
    """Answers with code 200 that no version gives."""
    unchecked: list[tuple[int, bytes, float, float]] = field(default_factory=list)
    """Number of the request, answer, when it was due, seconds: compared when it takes no time from the server."""

    def check(self, questions: Questions) -> Outcome:
        """Compare the answers with the right ones."""
        for which, body, due, taken in self.unchecked:
            if version := questions.version_of(which, body):
                self.asked.append(due)
                self.latencies.append(taken)
                self.versions.append(version)
            else:
                self.wrong += 1
        self.unchecked = []
        return self

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, which: float) -> float:
        """Milliseconds."""
        return float(np.percentile(self.latencies, which)) * 1e3 if self.latencies else float("nan")


class Questions:
    """Requests, made once, and the right answers of both versions."""

    def __init__(self, folder: Path, host: str) -> None:
        self.rows = np.load(folder / "rows.npy")
        self.expected = np.load(folder / "expected.npy")
        bodies = [
            json.dumps({"instances": [row.tolist()]}).encode() for row in self.rows.round(3).astype(float).round(3)
        ]
        head = "POST /v1/models/my_model:predict HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n"
        self.requests = [f"{head.format(host)}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]

    def version_of(self, which: int, body: bytes) -> int:
        """1 or 2, whose answer to a request this is; 0 for neither."""
        found = np.array(json.loads(body)["predictions"][0])
        for version in (1, 2):
            if np.allclose(found, self.expected[version - 1][which], _TOLERANCE, _TOLERANCE):
                return version
        return 0


async def closed_loop(url: str, questions: Questions, clients: int, seconds: float) -> Outcome:
    """`clients` that each ask again as soon as they are answered."""
    outcome, end = Outcome(), time.perf_counter() + seconds
    since = time.perf_counter()

    async def ask(which: int) -> None:
        connection = Connection(url)
        while time.perf_counter() < end:
            which = (which * 31 + 7) % len(questions.requests)
            await connection.ask(questions, which, outcome, time.perf_counter())
        connection.close()

    await asyncio.gather(*[ask(number) for number in range(clients)])
    outcome.seconds = time.perf_counter() - since
    return outcome.check(questions)


async def open_loop(url: str, questions: Questions, rate: float, seconds: float) -> Outcome:
    """`rate` requests a second on `CONNECTIONS` connections; a latency counts from when a request was due."""
    outcome = Outcome()
    idle: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
    for _ in range(CONNECTIONS):
        idle.put_nowait(Connection(url))
    tasks: set[asyncio.Future[None]] = set()
    since = time.perf_counter()

    async def ask(which: int, due: float) -> None:
        connection = await idle.get()
        await connection.ask(questions, which, outcome, due)
        idle.put_nowait(connection)

    for number in range(int(rate * seconds)):
        due = since + number / rate
        if (left := due - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        task = asyncio.ensure_future(ask(number % len(questions.requests), due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    while not idle.empty():
        idle.get_nowait().close()
    outcome.seconds = time.perf_counter() - since
    return outcome.check(questions)


class Connection:
    """One connection, opened when it is needed."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._address = host, int(port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, questions: Questions, which: int, outcome: Outcome, since: float) -> None:
        """Send a request and note its answer."""
        try:
            status, body = await self._exchange(questions.requests[which])
        except (OSError, asyncio.IncompleteReadError) as error:
            outcome.failed.append(type(error).__name__)
            self.close()
            return
        taken = time.perf_counter() - since
        if status != 200:
            outcome.failed.append(f"{status} {body[:100]!r}")
            return
        outcome.unchecked.append((which, body, since, taken))

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        if self._streams is None or self._streams[0].at_eof():  # the server ends connections that were idle for 60 s
            self.close()
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(_header(head, b"content-length"))
        return int(head[9:12]), await reader.readexactly(length)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _header(head: bytes, name: bytes) -> Any:
    lower = head.lower()
    start = lower.index(name + b":") + len(name) + 1
    return lower[start : lower.index(b"\r\n", start)]
