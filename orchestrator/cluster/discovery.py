"""What `--address auto` means: the Ray that this user, or root, has started on this host.

Ray itself joins whatever it finds in the process list and in a file that every user may write (2.60), and so anyone's
cluster: the job and its secrets would run under another user.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import ClusterError
from workers.session import SESSION_MARK

_GCS = "--gcs-address="
PROC = Path("/proc")


def named() -> str | None:
    """The address in RAY_ADDRESS, which Ray sets for a submitted job; None if there is none."""
    address = os.environ.get("RAY_ADDRESS")
    return None if address in (None, "", "auto", "local") else address


def search(proc: Path = PROC) -> str:
    """The address of the one Ray cluster here that is this user's, or root's.

    Raises:
        ClusterError: there is none, or there are several.
    """
    found, others = set(), 0
    for owner, gcs in _raylets(proc):
        if owner in (0, os.getuid()):
            found.add(gcs)
        else:
            others += 1
    if len(found) == 1:
        return found.pop()
    if found:
        raise ClusterError(f"Several Ray clusters run here: give --address one of {', '.join(sorted(found))}.")
    stranger = " One of another user does; if it is to be joined, give --address its HOST:PORT." if others else ""
    raise ClusterError(
        f"No Ray cluster of yours runs on this host, which `auto` would join.{stranger} `ray start --head` starts one; "
        "without --address Regatta starts its own."
    )


def _raylets(proc: Path) -> Iterator[tuple[int, str]]:
    """Owner and cluster address of each Ray node here, but for those that Regatta started for a run of its own."""
    for entry in proc.glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if Path(arguments[0]).name != "raylet":
                continue
            owner = entry.stat().st_uid
            ours = _is_of_a_session(entry) if owner == os.getuid() else False
        except OSError:  # it ended meanwhile
            continue
        addresses = [argument.removeprefix(_GCS) for argument in arguments if argument.startswith(_GCS)]
        if addresses and not ours:
            yield owner, addresses[0]


def _is_of_a_session(entry: Path) -> bool:
    mark = f"{SESSION_MARK}=".encode()
    return any(variable.startswith(mark) for variable in (entry / "environ").read_bytes().split(b"\0"))
