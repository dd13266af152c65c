"""A warm machine of a test's own: in a temporary folder of its own, in which nothing may be left."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conftest import regatta
from tests.integration.processes import all_gone, marked

COMMAND = [sys.executable, "-P", "-c", "from orchestrator.cli.main import main; main()"]
TINY = ("--mode", "single", "--samples", "2000")


class Machine:
    """Runs commands that may use it, and finds its processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary = Path(tempfile.mkdtemp(prefix="w", dir="/tmp"))  # sockets need short paths
        self.mark = f"WARM_TEST={secrets.token_hex(8)}"
        name, _, value = self.mark.partition("=")
        self.env = {"TMPDIR": str(self.temporary), "REGATTA_WARM": "1", "CI": "", name: value}

    def call(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return regatta(*arguments, cwd=self.folder, **self.env | env)

    def up(self, *arguments: str, **env: str) -> dict[str, Any]:
        done = self.call("up", "--json", *arguments, **env)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=os.environ | self.env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, name: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.call("run", "digits", *TINY, "--run-id", name, "-v", *arguments, **env)

    def processes(self, part: str) -> list[int]:
        """Pids of a part: `warm.keeper`, `supervisor.zygote`, `gcs_server`, `raylet`."""
        return [pid for pid, command in marked(self.mark).items() if part in command]

    def kill(self, part: str, signum: int = signal.SIGKILL) -> None:
        pids = self.processes(part)
        assert pids, (part, marked(self.mark))
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    def nothing_left(self, seconds: float = 30.0) -> None:
        """Wait until no process and no file is left."""
        deadline = time.monotonic() + seconds
        assert not all_gone(self.mark, seconds)
        while (left := self.files()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not left

    def files(self) -> list[Path]:
        own = {self.temporary / f"regatta-{os.getuid()}"}
        return [path for path in self.temporary.rglob("*") if path not in own]


@contextlib.contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """A machine that is down; in the end it is ended with all that uses it."""
    here = Machine(folder)
    try:
        yield here
    finally:
        here.call("down", "--now")
        left = all_gone(here.mark)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(here.temporary, ignore_errors=True)


def used(done: subprocess.CompletedProcess[str] | str) -> bool:
    """Whether a command with -v said that it uses the warm machine."""
    text = done if isinstance(done, str) else done.stderr
    return "This uses the warm machine" in text
