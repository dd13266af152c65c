"""Sums over workers on one host, through shared memory.

TensorFlow's collectives send every gradient through gRPC, even between two processes on one host: it is serialised,
copied four times, and handed from thread to thread on both sides. Here each worker writes its values to memory that the
others can read, and notifies them over a socket. docs/performance.md has the gain.

Each pair of workers has a unix socket; each worker has a memory with two slots, to which only it writes. A round is:
write a slot, send a message to all peers, receive one from each, add up all slots. Slots alternate, so one message per
round is a sufficient barrier: a peer that sends the message of round n + 1 has read all slots of round n. All workers
add up in the same order, so their sums agree to the last bit.

The kernel frees everything when a process ends, however it ends, and its peers notice at once.
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
from workers.errors import BROKEN_OFF, DIVERGED
from workers.session import peer_of, say

SLOT_BYTES = 1 << 22
"""Larger values take several rounds. Best is a slot that fits into a core's cache and is worth a message."""
_CONNECT_SECONDS = 10.0
_CHECK_INTERVAL = struct.pack("ll", 4, 0)
"""Seconds and microseconds between two checks of the process of a worker that is waited for."""
STOPPED = ("T", "t")
_ROUND = struct.Struct("<QQ")
_RANK = struct.Struct("<I")


@dataclass(frozen=True)
class _Peer:
    rank: int
    pid: int
    socket: socket.socket
    memory: mmap.mmap

    def receive(self, size: int) -> bytes:
        """Wait for the peer's next message; empty if its process has ended.

        Raises:
            RuntimeError: its process is stopped.
        """
        before = None
        while True:
            try:
                return self.socket.recv(size)
            except BlockingIOError:
                now = process_state(self.pid)
                if now is not None and now == before and now[0] in STOPPED:
                    raise RuntimeError(
                        f"{BROKEN_OFF}: worker:{self.rank} is stopped (SIGSTOP, or a debugger)"
                    ) from None
                before = now


class SharedMemory:
    """Memory shared with all other workers of a group, which run on this host."""

    def __init__(self, rank: int, own: mmap.mmap, peers: Sequence[_Peer]) -> None:
        self._rank = rank
        self._own = own
        self._peers = peers
        self._memories = [memory for _, memory in sorted([(rank, own), *((p.rank, p.memory) for p in peers)])]
        self._round = 0
        self.seconds = 0.0
        """Seconds spent in `sum` so far, including waits for slower workers."""

    def sum(self, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Sum the `value`s of all workers, which have the same shape and type. All workers have to call it.

        Raises:
            RuntimeError: another worker ended, was stopped, or called it with another size; the message contains
                `BROKEN_OFF`.
        """
        entered = time.monotonic()
        total = np.empty_like(value)
        values, sums = value.reshape(-1), total.reshape(-1)
        length = SLOT_BYTES // value.itemsize
        for start in range(0, values.size, length):
            self._sum(values[start : start + length], sums[start : start + length])
        self.seconds += time.monotonic() - entered
        return total

    def gather(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Concatenate the `rows` of all workers, in order of rank; their numbers of rows may differ.

        Raises:
            RuntimeError: as for `sum`.
        """
        counts = np.zeros(len(self._memories), np.int64)
        counts[self._rank] = len(rows)
        counts = self.sum(counts)
        gathered = np.zeros((counts.sum(), *rows.shape[1:]), rows.dtype)
        first = counts[: self._rank].sum()
        gathered[first : first + len(rows)] = rows
        return self.sum(gathered)

    def _sum(self, values: np.ndarray[Any, Any], total: np.ndarray[Any, Any]) -> None:
        offset = self._round % 2 * SLOT_BYTES
        slots = [np.ndarray(values.shape, values.dtype, memory, offset) for memory in self._memories]
        np.ndarray(values.shape, values.dtype, self._own, offset)[:] = values
        self._barrier(_ROUND.pack(self._round, values.nbytes))
        np.add(slots[0], slots[1], out=total)
        for slot in slots[2:]:
            np.add(total, slot, out=total)
        self._round += 1

    def _barrier(self, message: bytes) -> None:
        """Send `message` to all peers, and receive the same from each."""
        try:
            for peer in self._peers:
                peer.socket.send(message)
            for peer in self._peers:
                if (received := peer.receive(len(message))) != message:
                    what = "ended" if not received else f"is at {received!r}, this one at {message!r}: {DIVERGED}"
                    raise RuntimeError(f"{BROKEN_OFF}: worker:{peer.rank} {what}")
        except OSError as error:
            raise RuntimeError(f"{BROKEN_OFF}: {error}") from error

    @classmethod
    def connect(cls, rank: int, listener: socket.socket, addresses: Sequence[str]) -> SharedMemory | None:
        """Connect worker `rank` of those at `addresses` to all others, whose listeners exist already.

        Returns None on every worker if one of them is on another host or belongs to another user.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(listener)
            try:
                own, peers = _connect_to_peers(rank, listener, addresses, stack)
                connected = cls(rank, own, peers)
                connected._barrier(b"met")  # a worker sends this only when it is connected to all others
            except (OSError, RuntimeError, ValueError):
                return None
            stack.pop_all()
        listener.close()
        for peer in peers:
            peer.socket.settimeout(None)
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _CHECK_INTERVAL)
        return connected


def listen(rank: int, addresses: Sequence[str]) -> socket.socket | None:
    """Listen for the other workers; None if those at `addresses` ("host:port") are not all on one Linux host."""
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


def share(listener: socket.socket | None, rank: int, addresses: Sequence[str], *, replicas: int) -> SharedMemory | None:
    """Share memory with the other workers, if all of them are on this host and have one of its `replicas`."""
    if listener is None or replicas > 1:
        if listener is not None:
            listener.close()
        return None
    memory = SharedMemory.connect(rank, listener, addresses)
    if memory is not None:
        say(f"{len(addresses)} workers on this host exchange gradients through shared memory")
    return memory


def _connect_to_peers(
    rank: int, listener: socket.socket, addresses: Sequence[str], stack: contextlib.ExitStack
) -> tuple[mmap.mmap, list[_Peer]]:
    """Connect to the workers of lower rank, and accept connections from those of higher rank."""
    descriptor = os.memfd_create("regatta-gradients")
    try:
        os.ftruncate(descriptor, 2 * SLOT_BYTES)
        own = mmap.mmap(descriptor, 2 * SLOT_BYTES)
        peers = []
        listener.settimeout(_CONNECT_SECONDS)
        for other in range(len(addresses) - 1):
            if other < rank:
                connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                stack.enter_context(connection)
                connection.connect(_name(addresses[other]))
            else:
                connection, _ = listener.accept()
                stack.enter_context(connection)
            peers.append(_exchange_memory(connection, rank, descriptor))
    finally:
        os.close(descriptor)
    if {peer.rank for peer in peers} != set(range(len(addresses))) - {rank}:
        raise ValueError("a worker is missing, or connected twice")
    return own, peers


def _exchange_memory(connection: socket.socket, rank: int, descriptor: int) -> _Peer:
    """Send this worker's rank and memory, and receive the peer's."""
    connection.settimeout(_CONNECT_SECONDS)
    pid, user = peer_of(connection)
    if user != os.getuid():
        raise PermissionError(f"the peer belongs to user {user}")
    socket.send_fds(connection, [_RANK.pack(rank)], [descriptor])
    message, descriptors, _, _ = socket.recv_fds(connection, _RANK.size, 1)
    try:
        if len(message) != _RANK.size or not descriptors:
            raise ValueError("the peer is not a worker")
        memory = mmap.mmap(descriptors[0], 2 * SLOT_BYTES, prot=mmap.PROT_READ)
        (other,) = _RANK.unpack(message)
        return _Peer(other, pid, connection, memory)
    finally:
        for received in descriptors:
            os.close(received)


def process_state(pid: int) -> tuple[str, str, str] | None:
    """State, user time and system time of a process; None if it is not visible (in another container)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], fields[11], fields[12]


def _name(address: str) -> str:
    """An abstract socket's name. It belongs to the network namespace, as ports do."""
    return f"\0regatta-{os.getuid()}-{address}"
