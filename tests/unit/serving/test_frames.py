"""Frames between a server and a model's process, and the connections that carry them."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.cluster.model_line import ModelLine, ModelLines
from workers.serving.frames import START, Frame, pack, receive, send, unpack

pytestmark = pytest.mark.unit


def through(frame: Frame) -> Frame:
    one, other = socket.socketpair()
    with one, other:
        thread = threading.Thread(target=send, args=(one, frame))
        thread.start()
        found = receive(other)
        thread.join()
    assert found is not None
    return found


def test_arrays_of_every_kind_arrive_as_they_were_sent() -> None:
    strings = np.empty((2, 2), object)
    strings[:] = [[b"a", b""], [b"\xff\x00", b"long" * 1000]]
    sent: dict[str, Any] = {
        "floats": np.array([[1.5, np.nan], [-np.inf, 0.0]], np.float32),
        "turned": np.arange(6, dtype=np.int64).reshape(2, 3).T,
        "none": np.zeros((0, 3), np.float64),
        "number": np.float16(2.5).reshape(()),
        "flags": np.array([True, False]),
        "complex": np.array([1 + 2j], np.complex64),
        "strings": strings,
    }
    found = through(Frame(7, {"signature": "sérving"}, sent))
    assert (found.number, found.head) == (7, {"signature": "sérving"})
    assert list(found.arrays) == list(sent)
    for name, array in sent.items():
        assert found.arrays[name].dtype == array.dtype
        assert found.arrays[name].shape == array.shape
        np.testing.assert_array_equal(found.arrays[name], array)


def test_a_type_that_numpy_does_not_know_by_name() -> None:
    import ml_dtypes

    found = through(Frame(1, {}, {"x": np.array([1.5, -2], ml_dtypes.bfloat16)})).arrays["x"]
    assert found.dtype == ml_dtypes.bfloat16
    assert found.astype(float).tolist() == [1.5, -2]


def test_an_end_that_closes_in_the_middle_of_a_frame() -> None:
    one, other = socket.socketpair()
    with other:
        with one:
            one.sendall(pack(Frame(1, {}, {"x": np.zeros(100)}))[:-1])
        assert receive(other) is None


def test_more_bytes_than_the_head_names_are_refused() -> None:
    with pytest.raises(ValueError, match="12 bytes of arrays, where the head names 8"):
        unpack(1, json.dumps([{}, [["x", "float64", [1], 8]]]).encode(), bytes(12))


def answers(connection: socket.socket) -> None:
    """The second of two requests first, and then none."""
    first, second = receive(connection), receive(connection)
    assert first is not None
    assert second is not None
    for asked in (second, first):
        send(connection, Frame(asked.number, {"status": "OK"}, {"y": asked.arrays["x"] * 2}))
    receive(connection)
    connection.close()


def test_answers_find_their_requests_and_a_lost_process_is_told() -> None:
    own, theirs = socket.socketpair()
    threading.Thread(target=answers, args=(theirs,), daemon=True).start()

    async def ask() -> None:
        line = ModelLine(*await asyncio.open_unix_connection(sock=own))
        found = await asyncio.gather(*[line.ask({}, {"x": np.array([value])}) for value in (1, 2)])
        assert [frame.arrays["y"].tolist() for frame in found] == [[2], [4]]
        with pytest.raises(ConnectionError):
            await line.ask({}, {"x": np.array([3])})
        assert line.busy == 0
        assert line.closed
        with pytest.raises(ConnectionError):
            await line.ask({}, {})

    asyncio.run(asyncio.wait_for(ask(), 20))


def hello(address: dict[str, Any], **changes: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address["path"])
    send(connection, Frame(0, {"secret": address["secret"], "model": "m"} | changes))
    return connection


def test_a_process_connects_with_the_secret_only(tmp_path: Path) -> None:
    async def connect() -> None:
        lines = ModelLines()
        await lines.listen(tmp_path, None)
        address = lines.address("m")
        assert address is not None
        wrong = hello(address, secret="guessed")
        huge = socket.socket(socket.AF_UNIX)
        huge.connect(address["path"])
        huge.sendall(START.pack(0, 1 << 30, 1 << 30))
        for refused in (wrong, huge):
            assert await asyncio.to_thread(refused.recv, 1) == b""
        assert lines.least_busy("m") is None
        right = hello(address)
        while lines.least_busy("m") is None:
            await asyncio.sleep(0.01)
        assert lines.least_busy("other") is None
        right.close()
        while lines.least_busy("m") is not None:
            await asyncio.sleep(0.01)
        lines.close()

    asyncio.run(asyncio.wait_for(connect(), 20))


def test_a_server_that_cannot_be_reached_has_no_address() -> None:
    async def listen() -> None:
        lines = ModelLines()
        await lines.listen(None, None)
        assert lines.address("m") is None

    asyncio.run(listen())
