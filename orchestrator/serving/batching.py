"""Joins requests into batches before they are sent to a replica.

`ray.serve.batch` joins what has arrived in a replica, after each request has cost a call of Ray; here a batch costs
one.
While all replicas are busy, requests gather by themselves, so that waiting for more (`wait`) is rarely worth it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from orchestrator.serving.refusal import Refusal
from orchestrator.serving.signature import Arrays

Call = Callable[[Arrays], Awaitable[Arrays]]
_Kind = tuple[tuple[str, str, tuple[int, ...]], ...]


@dataclass(eq=False)
class _Waiting:
    inputs: Arrays
    rows: int
    kind: _Kind | None
    """Requests of the same kind can be joined; None for one that has to go alone."""
    since: float
    answer: asyncio.Future[Arrays] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher:
    """Sends the requests for one signature, at most `concurrent` batches at a time."""

    def __init__(
        self,
        call: Call,
        *,
        joins: bool,
        most_rows: int,
        wait: float,
        concurrent: int,
        observe: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`joins`: whether rows of several requests may be in one call; `observe` is told of each call's rows."""
        self._call = call
        self._joins = joins
        self._most_rows = most_rows
        self._wait = wait
        self._free = concurrent
        self._observe = observe
        self._waiting: list[_Waiting] = []
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, inputs: Arrays) -> Arrays:
        """The outputs for `inputs`; raises what the call raises."""
        rows = _rows(inputs)
        kind = _kind(inputs) if self._joins and rows else None
        one = _Waiting(inputs, rows, kind, time.monotonic())
        self._waiting.append(one)
        self._look_at(0.0)
        try:
            return await one.answer
        finally:
            if one in self._waiting:  # the client has gone
                self._waiting.remove(one)

    def _look_at(self, delay: float) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()  # not at once: what arrives in this turn of the loop is joined
            self._timer = loop.call_later(delay, self._send) if delay else loop.call_soon(self._send)
        elif not delay and isinstance(self._timer, asyncio.TimerHandle):
            self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        self._timer = None
        while self._free and self._waiting:
            first = self._waiting[0]
            batch = self._next()
            left = first.since + self._wait - time.monotonic()
            if first.kind is not None and left > 0 and sum(one.rows for one in batch) < self._most_rows:
                self._look_at(left)
                return
            self._waiting = [one for one in self._waiting if one not in batch]
            self._free -= 1
            task = asyncio.get_running_loop().create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _next(self) -> list[_Waiting]:
        """The oldest request, and those that can be joined with it."""
        first, *others = self._waiting
        batch, rows = [first], first.rows
        for one in others if first.kind is not None else ():
            if one.kind == first.kind and rows + one.rows <= self._most_rows:
                batch.append(one)
                rows += one.rows
        return batch

    async def _run(self, batch: Sequence[_Waiting]) -> None:
        try:
            await self._answer(batch)
        finally:
            self._free += 1
            self._look_at(0.0)

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        self._observe(sum(one.rows for one in batch))
        try:
            if len(batch) == 1:
                _settle(batch[0], await self._call(batch[0].inputs))
                return
            names = batch[0].inputs
            outputs = await self._call({name: np.concatenate([one.inputs[name] for one in batch]) for name in names})
        except Refusal as refusal:
            if len(batch) > 1 and refusal.status in ("INVALID_ARGUMENT", "INTERNAL"):
                for one in batch:  # one of them is at fault, and the others must not suffer for it
                    await self._answer([one])
                return
            for one in batch:
                _settle(one, refusal)
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, no request may wait for ever
            for one in batch:
                _settle(one, error)
            return
        total, start = sum(one.rows for one in batch), 0
        if any(len(output) != total for output in outputs.values()):
            for one in batch:
                await self._answer([one])
            return
        for one in batch:
            _settle(one, {name: output[start : start + one.rows] for name, output in outputs.items()})
            start += one.rows


def _settle(one: _Waiting, outcome: Arrays | Exception) -> None:
    if one.answer.done():  # cancelled
        return
    if isinstance(outcome, Exception):
        one.answer.set_exception(outcome)
    else:
        one.answer.set_result(outcome)


def _rows(inputs: Arrays) -> int:
    """Rows of a request; 0 if its inputs do not agree, which the model may or may not take."""
    counts = {array.shape[0] if array.ndim else 0 for array in inputs.values()}
    return counts.pop() if len(counts) == 1 else 0


def _kind(inputs: Arrays) -> _Kind:
    return tuple((name, str(array.dtype), array.shape[1:]) for name, array in sorted(inputs.items()))
