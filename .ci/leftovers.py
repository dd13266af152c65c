"""Prints the processes that a test run left behind, `pid command` a line, and exits 1 if there are any.

A process belongs to the run if its environment carries the run's mark (REGATTA_CI_RUN): children inherit it,
and Ray's workers keep it when they rename themselves to `ray::...` (seen with Ray 2.60). On a CI machine,
which runs no other Ray, one of our names is enough. All get 15 s to follow their raylet.
"""

import os
import re
import sys
import time
from pathlib import Path

OURS = re.compile(r"raylet|gcs_server|workers\.supervisor\.zygote|workers\.task|ray::")
GRACE_SECONDS = 15


def command_of(process: Path) -> str:
    return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


def leftovers(mark: str, by_name: bool) -> list[str]:
    found = []
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        pid = int(process.name)
        try:
            # .ci/run, its subshells and this process share one process group; the tests ran in another.
            if os.getpgid(pid) == os.getpgrp():
                continue
            command = command_of(process)
            marked = f"REGATTA_CI_RUN={mark}".encode() in (process / "environ").read_bytes().split(b"\0")
        except (OSError, ProcessLookupError):  # it ended meanwhile, or is not ours to read
            continue
        if command and (marked or (by_name and OURS.search(command))):
            found.append(f"{pid} {command[:200]}")
    return found


def main() -> int:
    mark, by_name = os.environ["REGATTA_CI_RUN"], os.environ.get("CI") == "true"
    deadline = time.monotonic() + GRACE_SECONDS
    while (found := leftovers(mark, by_name)) and time.monotonic() < deadline:
        time.sleep(0.5)
    sys.stdout.write("\n".join(found or ["none"]) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
