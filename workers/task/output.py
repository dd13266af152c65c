"""Sends what a script prints to the driver, besides the task's log."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any, TextIO

from workers.messages import Printed


class Output(io.TextIOBase):
    """Standard output of the leader's process: writes to the log, and sends whole lines to the driver."""

    def __init__(self, log: TextIO, send: Callable[[Printed], None], muted: Callable[[], bool]) -> None:
        """While `muted`, nothing is sent: the script repeats what it has printed already."""
        self._log = log
        self._send = send
        self._muted = muted
        self._line = ""

    def write(self, text: str) -> int:
        self._log.write(text)
        if not self._muted():
            self._line += text
            lines, newline, self._line = self._line.rpartition("\n")
            if newline:
                self._send(Printed(f"{lines}\n"))
        return len(text)

    def flush(self) -> None:
        self._log.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._log.fileno()

    def __getattr__(self, name: str) -> Any:
        """`buffer`, `reconfigure` and the like are the log's: what goes past `write` is in the log only."""
        return getattr(self._log, name)


def send_output(send: Callable[[Printed], None], muted: Callable[[], bool]) -> None:
    """Send what this process prints from now on."""
    sys.stdout = Output(sys.stdout, send, muted)
