"""Large arrays in memory that is shared by the tasks of a host, instead of one copy in each.

Tasks run the same script and so make the same arrays. The first to come to `fit` copies an array to a memory file,
whose name says what it begins with; others find it by that name, compare it byte by byte, and keep it instead of their
own. An array's pages are then replaced where they are by those of the file, private and copied on writing: code that
has the array sees no difference. The file is sealed against changes, and ends with the last process that uses it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import socket
import struct
import threading
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

LARGE = 32 << 20
"""Bytes from which an array is shared. glibc gives memory from this size on in pages of its own, always."""
_PART = 64 << 20
"""Bytes that are copied or compared at a time."""
_WAIT_SECONDS = 120.0
_PAGE = mmap.PAGESIZE
_IS_MAPPED = 2
"""The flag in the word before glibc's memory that says that it has pages of its own."""
_MAP_FIXED = 0x10
_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True)
class Shared:
    """An array's memory, in a file."""

    descriptor: int
    start: int
    """Where the array begins in the file, whose size leaves a hole as long as the array behind it."""

    @property
    def path(self) -> str:
        """The file, for all processes of this user on this host while this one lives."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"


_known: weakref.WeakValueDictionary[int, Shared] = weakref.WeakValueDictionary()
"""By the address of an array, its memory, while something uses it."""


def shared(array: np.ndarray[Any, Any]) -> Shared | None:
    """The shared memory of `array`, which owns what it has; None if it is small, or cannot be shared."""
    address, size = array.ctypes.data, array.nbytes
    plain = array.dtype.kind in "biuf" and array.flags.owndata and array.flags.c_contiguous
    if not (plain and size >= LARGE and _has_own_pages(address, size)):
        return None
    found = _known.get(address) or _find_or_make(array)
    if found is not None:
        _known[address] = found
    return found


def _has_own_pages(address: int, size: int) -> bool:
    word = ctypes.c_size_t.from_address(address - ctypes.sizeof(ctypes.c_size_t)).value
    return bool(word & _IS_MAPPED) and size < (word & ~7) <= size + 2 * _PAGE


def _find_or_make(array: np.ndarray[Any, Any]) -> Shared | None:
    name = _name(array)
    ends = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < ends:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            listener.bind(name)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                return None
            descriptor = _ask(name)
            if descriptor is not None:
                return _take(array, descriptor)
            time.sleep(0.05)  # it is being written, or its process has just ended
            continue
        made = _make(array)
        listener.listen(64)
        threading.Thread(target=_serve, args=(listener, made.descriptor), name="regatta-array", daemon=True).start()
        weakref.finalize(made, listener.shutdown, socket.SHUT_RDWR)  # which ends the thread
        return made
    return None


def _name(array: np.ndarray[Any, Any]) -> str:
    """The abstract socket where arrays that look like this one are found; it ends with its process."""
    content = _bytes(array)
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{array.nbytes} {array.ctypes.data % _PAGE}".encode())
    for at in range(0, len(content), max(1, len(content) // 256)):
        digest.update(content[at : at + _PAGE].tobytes())
    return f"\0regatta-array-{os.getuid()}-{digest.hexdigest()}"


def _bytes(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array's memory."""
    import numpy as np

    return array.reshape(-1).view(np.uint8)


def _make(array: np.ndarray[Any, Any]) -> Shared:
    descriptor = os.memfd_create("regatta-array", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    start = array.ctypes.data % _PAGE
    os.ftruncate(descriptor, start + 2 * array.nbytes)
    content = _bytes(array)
    for at in range(0, len(content), _PART):
        part = memoryview(content[at : at + _PART].data)
        done = 0
        while done < len(part):
            done += os.pwrite(descriptor, part[done:], start + at + done)
        _replace_pages(array, descriptor, at, len(part))
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return _closed_at_last(Shared(descriptor, start))


def _closed_at_last(memory: Shared) -> Shared:
    weakref.finalize(memory, os.close, memory.descriptor)
    return memory


def _take(array: np.ndarray[Any, Any], descriptor: int) -> Shared | None:
    """The file in place of the array's own memory, if it has the same content."""
    import numpy as np

    start, content = array.ctypes.data % _PAGE, _bytes(array)
    if os.fstat(descriptor).st_size == start + 2 * len(content):
        with mmap.mmap(descriptor, start + len(content), prot=mmap.PROT_READ) as mapped:
            there = np.frombuffer(mapped, np.uint8)[start:]
            same = True
            for at in range(0, len(content), _PART):
                same = np.array_equal(there[at : at + _PART], content[at : at + _PART])
                if not same:
                    break
                _replace_pages(array, descriptor, at, _PART)
            del there
        if same:
            return _closed_at_last(Shared(descriptor, start))
    os.close(descriptor)
    return None


def _replace_pages(array: np.ndarray[Any, Any], descriptor: int, at: int, size: int) -> None:
    """Replace the pages that lie within the array's bytes `at` to `at + size` by those of the file."""
    address = array.ctypes.data
    first = -(-(address + at) // _PAGE) * _PAGE
    last = min(address + at + size, address + array.nbytes) // _PAGE * _PAGE
    if last <= first:
        return
    system = ctypes.PyDLL(None, use_errno=True).mmap  # with Python's lock held: nothing of Python writes meanwhile
    system.restype = ctypes.c_void_p
    system.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    offset = first - address + address % _PAGE
    flags = mmap.MAP_PRIVATE | _MAP_FIXED
    if system(first, last - first, mmap.PROT_READ | mmap.PROT_WRITE, flags, descriptor, offset) != first:
        raise OSError(ctypes.get_errno(), "an array's pages cannot be replaced by shared ones")


def _serve(listener: socket.socket, descriptor: int) -> None:
    with listener:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # shut down, because nothing here uses the array any more
                return
            with client, contextlib.suppress(OSError):
                if _is_ours(client):
                    socket.send_fds(client, [b"."], [descriptor])


def _ask(name: str) -> int | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking, contextlib.suppress(OSError):
        asking.settimeout(10)
        asking.connect(name)
        if _is_ours(asking):
            _, descriptors, _, _ = socket.recv_fds(asking, 1, 1)
            return descriptors[0] if descriptors else None
    return None


def _is_ours(peer: socket.socket) -> bool:
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1]) == os.getuid()
