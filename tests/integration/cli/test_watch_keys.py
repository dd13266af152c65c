"""Keys in `regatta watch`, pressed on a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from orchestrator.store import locks
from tests.unit.stored_runs import store_run


class Terminal:
    """`regatta watch FOLDER` on a terminal of 100 by 40."""

    def __init__(self, folder: Path) -> None:
        self.master, slave = pty.openpty()
        command = [sys.executable, "-P", "-c", "from orchestrator.cli.main import main; main()", "watch", str(folder)]
        environment = {**os.environ, "COLUMNS": "100", "LINES": "40", "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - Ctrl-C is a signal there only then
        )  # fmt: skip
        os.close(slave)

    def until(self, wanted: str, seconds: float = 90) -> str:
        """What is printed from now on, up to and with `wanted`."""
        text, deadline = "", time.monotonic() + seconds
        while wanted not in text:
            ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
            assert ready, text
            text += os.read(self.master, 65536).decode(errors="replace")
        return text

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait(60)
        os.close(self.master)


@pytest.mark.parametrize("leave", ["q", "\x03"])
def test_help_and_leaving(tmp_path: Path, leave: str) -> None:
    store_run(tmp_path, "async", 0, with_result=False)
    run = tmp_path / "runs" / "async-s0"
    with locks.lock(run):
        terminal = Terminal(run)
        try:
            assert "val_accuracy" in terminal.until("TASK")
            terminal.press("?")
            assert "scroll the tasks" in terminal.until("leads back")
            terminal.press("j")
            terminal.until("TASK")
            terminal.press(leave)
            left = terminal.until("no longer watching; the run continues")
            assert "TASK" in left  # the summary stays on the screen
            assert terminal.process.wait(60) == 130
        finally:
            terminal.close()
