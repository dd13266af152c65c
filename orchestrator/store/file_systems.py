"""The kind of file system that a folder is on: SQLite's write-ahead log needs memory shared by writer and readers.

A network file system cannot share memory between hosts, so a reader elsewhere would see torn or old pages
(https://sqlite.org/wal.html, "does not work over a network filesystem").
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_NETWORK = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFE534D42: "SMB",
    0xFF534D42: "CIFS",
    0x01021997: "9P",
    0x00C36400: "Ceph",
    0x0BD00BD0: "Lustre",
    0x19830326: "BeeGFS",
    0x47504653: "GPFS",
    0x5346414F: "AFS",
    0x6B414653: "AFS",
    0x65735546: "FUSE",  # sshfs, GlusterFS and s3fs among others, which the kernel does not tell apart
    0x7461636F: "OCFS2",
    0x01161970: "GFS2",
}
"""Names by `f_type` of statfs(2), of file systems that several hosts may have mounted."""
_STRUCT_BYTES = 512
"""Room for `struct statfs`, which has 120 bytes on x86-64 and starts with `f_type` on all of glibc's platforms."""


def network_file_system(folder: Path) -> str | None:
    """Name of the network file system that `folder` is on; None if it is on another kind, or that cannot be told."""
    statfs = getattr(ctypes.CDLL(None, use_errno=True), "statfs", None)
    buffer = ctypes.create_string_buffer(_STRUCT_BYTES)
    if statfs is None or statfs(os.fsencode(folder), buffer):
        return None
    kind = ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF
    return _NETWORK.get(kind)
