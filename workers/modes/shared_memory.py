"""Sums over the workers of one host, through shared memory.

TensorFlow's collectives send every gradient through gRPC, also between two processes of one machine: serialised,
copied four times, and handed from thread to thread on either side. Here each worker writes its values where the
others read them, and says so over a socket. docs/performance.md has what that brings.

Each pair of workers has a unix socket; each worker has a piece of memory with two slots, which it alone writes. A
round is: write a slot, tell everybody, hear from everybody, add up all slots. Slots alternate, so that one round's
messages are barrier enough: who is heard of in round n + 1 has read all of round n. All add up in the same order, so
that they agree to the last bit.

The kernel drops everything when a process ends, however it ends, and its peers hear of it at once.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workers.addresses import split
from workers.errors import BROKEN_OFF

SLOT_BYTES = 1 << 22
"""Larger values take several rounds. What fits into a core's cache and is worth a message is best."""
_MEETING_SECONDS = 10.0
_LOOK = struct.pack("ll", 4, 0)
"""Seconds and microseconds between two looks at the process of a worker that is waited for."""
_STOPPED = ("T", "t")
_ROUND = struct.Struct("<QQ")
_RANK = struct.Struct("<I")
_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True)
class _Peer:
    rank: int
    pid: int
    socket: socket.socket
    memory: mmap.mmap

    def hear(self, size: int) -> bytes:
        """Its next message, however long that takes; nothing if it has ended. Raises RuntimeError if it is stopped."""
        before = None
        while True:
            try:
                return self.socket.recv(size)
            except BlockingIOError:
                now = _sign_of_life(self.pid)
                if now is not None and now == before and now[0] in _STOPPED:
                    raise RuntimeError(
                        f"{BROKEN_OFF}: worker:{self.rank} is stopped (SIGSTOP, or a debugger)"
                    ) from None
                before = now


class SharedMemory:
    """The other workers of a group, all on this host."""

    def __init__(self, rank: int, own: mmap.mmap, peers: Sequence[_Peer]) -> None:
        self._own = own
        self._peers = peers
        self._memories = [memory for _, memory in sorted([(rank, own), *((p.rank, p.memory) for p in peers)])]
        self._round = 0
        self.seconds = 0.0
        """Spent in `sum` so far, waiting for slower workers included."""

    def sum(self, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Of everybody's `value`, which have one shape and type; all workers have to call it.

        Raises:
            RuntimeError: another worker ended, or is elsewhere in its training; the message says `BROKEN_OFF`.
        """
        entered = time.monotonic()
        total = np.empty_like(value)
        mine, sums = value.reshape(-1), total.reshape(-1)
        length = SLOT_BYTES // value.itemsize
        for start in range(0, mine.size, length):
            self._sum(mine[start : start + length], sums[start : start + length])
        self.seconds += time.monotonic() - entered
        return total

    def _sum(self, mine: np.ndarray[Any, Any], total: np.ndarray[Any, Any]) -> None:
        offset = self._round % 2 * SLOT_BYTES
        slots = [np.ndarray(mine.shape, mine.dtype, memory, offset) for memory in self._memories]
        np.ndarray(mine.shape, mine.dtype, self._own, offset)[:] = mine
        self._barrier(_ROUND.pack(self._round, mine.nbytes))
        np.add(slots[0], slots[1], out=total)
        for slot in slots[2:]:
            np.add(total, slot, out=total)
        self._round += 1

    def _barrier(self, message: bytes) -> None:
        """Tell everybody `message`, and hear the same from everybody."""
        try:
            for peer in self._peers:
                peer.socket.send(message)
            for peer in self._peers:
                if (heard := peer.hear(len(message))) != message:
                    what = "ended" if not heard else f"is at {heard!r}, this one at {message!r}"
                    raise RuntimeError(f"{BROKEN_OFF}: worker:{peer.rank} {what}")
        except OSError as error:
            raise RuntimeError(f"{BROKEN_OFF}: {error}") from error

    @classmethod
    def meet(cls, rank: int, listener: socket.socket, addresses: Sequence[str]) -> SharedMemory | None:
        """Connect this worker, `rank` of those at `addresses`, to all others, whose listeners exist already.

        None, for everybody, if one of them is not on this host after all, or not this user's.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(listener)
            try:
                own, peers = _introduce(rank, listener, addresses, stack)
                met = cls(rank, own, peers)
                met._barrier(b"met")  # nobody says so before it has met everybody
            except (OSError, RuntimeError, ValueError):
                return None
            stack.pop_all()
        listener.close()
        for peer in peers:
            peer.socket.settimeout(None)
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _LOOK)
        return met


def listen(rank: int, addresses: Sequence[str]) -> socket.socket | None:
    """Be there for the others; None where the workers at `addresses` ("host:port") are not all on one Linux host."""
    if sys.platform != "linux" or len(addresses) < 2 or len({split(address)[0] for address in addresses}) > 1:
        return None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listener.bind(_name(addresses[rank]))
    except OSError:
        listener.close()
        return None
    listener.listen(len(addresses))
    return listener


def _introduce(
    rank: int, listener: socket.socket, addresses: Sequence[str], stack: contextlib.ExitStack
) -> tuple[mmap.mmap, list[_Peer]]:
    """Connects to those before, is connected to by those after."""
    descriptor = os.memfd_create("regatta-gradients")
    try:
        os.ftruncate(descriptor, 2 * SLOT_BYTES)
        own = mmap.mmap(descriptor, 2 * SLOT_BYTES)
        peers = []
        listener.settimeout(_MEETING_SECONDS)
        for other in range(len(addresses) - 1):
            if other < rank:
                connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                stack.enter_context(connection)
                connection.connect(_name(addresses[other]))
            else:
                connection, _ = listener.accept()
                stack.enter_context(connection)
            peers.append(_greet(connection, rank, descriptor))
    finally:
        os.close(descriptor)
    if {peer.rank for peer in peers} != set(range(len(addresses))) - {rank}:
        raise ValueError("a worker is missing, or there twice")
    return own, peers


def _greet(connection: socket.socket, rank: int, descriptor: int) -> _Peer:
    """Tell who this is, with its memory; hear who the other is, with its."""
    connection.settimeout(_MEETING_SECONDS)
    pid, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    if user != os.getuid():
        raise PermissionError(f"user {user} answered")
    socket.send_fds(connection, [_RANK.pack(rank)], [descriptor])
    message, descriptors, _, _ = socket.recv_fds(connection, _RANK.size, 1)
    try:
        if len(message) != _RANK.size or not descriptors:
            raise ValueError("what answered is no worker")
        memory = mmap.mmap(descriptors[0], 2 * SLOT_BYTES, prot=mmap.PROT_READ)
        (other,) = _RANK.unpack(message)
        return _Peer(other, pid, connection, memory)
    finally:
        for received in descriptors:
            os.close(received)


def _sign_of_life(pid: int) -> tuple[str, str, str] | None:
    """State and processor time of a process; None if it cannot be seen (a container of its own)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], fields[11], fields[12]


def _name(address: str) -> str:
    """In the abstract name space, which is the network name space's: who shares it shares the ports as well."""
    return f"\0regatta-{os.getuid()}-{address}"
