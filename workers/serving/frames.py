"""Requests and answers between a server and the process of a served model.

A frame is a JSON head, and after it the bytes of its arrays. Both ends check lengths, and neither unpickles anything.
"""

from __future__ import annotations

import json
import math
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

START = struct.Struct("<QII")
"""The number of the request, and the bytes of the head and of the arrays."""
_STRINGS = "bytes"
"""Type name of an array of objects, whose elements are bytes."""


@dataclass(frozen=True)
class Frame:
    """A request, or the answer with the same number."""

    number: int
    head: Mapping[str, Any]
    """What is asked or answered, without the arrays."""
    arrays: Mapping[str, Any] = field(default_factory=dict)


def pack(frame: Frame) -> bytes:
    """The frame as bytes; raises ValueError if its arrays are 4 GiB or more."""
    layout: list[Any] = []
    parts: list[bytes] = []
    for name, array in frame.arrays.items():
        if array.dtype == object:
            values = [bytes(value) for value in array.ravel()]
            layout.append([name, _STRINGS, array.shape, [len(value) for value in values]])
            parts += values
        else:
            layout.append([name, array.dtype.name, array.shape, array.nbytes])
            parts.append(np.ascontiguousarray(array).tobytes())
    head = json.dumps([frame.head, layout]).encode()
    body = b"".join(parts)
    if len(body) >= 1 << 32:
        raise ValueError(f"arrays of {len(body):,} bytes do not fit into one request")
    return START.pack(frame.number, len(head), len(body)) + head + body


def unpack(number: int, head: bytes, body: bytes | bytearray) -> Frame:
    """The frame of these bytes; its arrays are read-only views of `body`. Raises ValueError if they do not agree."""
    content, layout = json.loads(head)
    arrays, at = {}, 0
    for name, dtype, shape, size in layout:
        if dtype == _STRINGS:
            arrays[name] = _strings(body, at, shape, size)
            at += sum(size)
        else:
            arrays[name] = np.frombuffer(body, _dtype(dtype), math.prod(shape), at).reshape(shape)
            at += size
    if at != len(body):
        raise ValueError(f"{len(body):,} bytes of arrays, where the head names {at:,}")
    return Frame(number, content, arrays)


def _strings(body: bytes | bytearray, at: int, shape: Sequence[int], sizes: Sequence[int]) -> Any:
    values = np.empty(len(sizes), object)
    for i, size in enumerate(sizes):
        values[i] = bytes(body[at : at + size])
        at += size
    return values.reshape(shape)


def _dtype(name: str) -> Any:
    try:
        return np.dtype(name)
    except TypeError:  # bfloat16 and its kind
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))


def send(connection: socket.socket, frame: Frame) -> None:
    """Raises OSError if the other end has closed."""
    connection.sendall(pack(frame))


def receive(connection: socket.socket) -> Frame | None:
    """The next frame; None if the other end has closed."""
    start = _exactly(connection, START.size)
    if start is None:
        return None
    number, head_size, body_size = START.unpack(start)
    head, body = _exactly(connection, head_size), _exactly(connection, body_size)
    return None if head is None or body is None else unpack(number, bytes(head), body)


def _exactly(connection: socket.socket, size: int) -> bytearray | None:
    buffer = bytearray(size)
    view, got = memoryview(buffer), 0
    while got < size:
        try:
            count = connection.recv_into(view[got:])
        except ConnectionError:
            return None
        if not count:
            return None
        got += count
    return buffer
