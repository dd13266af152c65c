"""Single keys from the terminal, read while something else is shown."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Callable, Iterator

_NAMES = {"\x1b[A": "up", "\x1b[B": "down", "k": "up", "j": "down"}


@contextlib.contextmanager
def single_keys(sleep: Callable[[float], None]) -> Iterator[Keys]:
    """Have the terminal hand over each key at once, without showing it; restored afterwards.

    Without a terminal there are no keys, and waiting for one is to `sleep`.
    """
    import termios
    import tty

    try:
        file = sys.stdin.fileno()
        before = termios.tcgetattr(file)
    except (OSError, ValueError, termios.error):  # stdin is not a terminal
        yield Keys(None, sleep)
        return
    try:
        tty.setcbreak(file)  # Ctrl-C stays a signal
        yield Keys(file, sleep)
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)


class Keys:
    """The keys that are pressed on a terminal; none without one."""

    def __init__(self, file: int | None, sleep: Callable[[float], None]) -> None:
        self._file = file
        self._sleep = sleep

    def wait(self, seconds: float) -> str | None:
        """The next key within `seconds`, or None; arrows, `j` and `k` are "up" and "down"."""
        if self._file is None:
            self._sleep(seconds)
            return None
        ready, _, _ = select.select([self._file], [], [], seconds)
        if not ready:
            return None
        text = os.read(self._file, 32).decode(errors="replace")
        if not text:  # the terminal is gone
            self._file = None
        return _NAMES.get(text, text)
