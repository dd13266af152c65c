"""SIGTERM or SIGHUP to the driver: its machine, or its terminal, is taken away, and there is a little time to save.

While a leg trains, the signal only sets a flag (`requested`): the coordinator polls it, stops the leg, and waits for
its checkpoint. At any other time there is nothing to save, and the signal ends the command at once, as does a second
signal at any time.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Preempted(BaseException):
    """Raised by the signals. Like KeyboardInterrupt it is not an error, and passes through `except Exception`."""


class _Signal:
    def __init__(self) -> None:
        self.requested = False
        self.deferrals = 0

    def arrived(self, _signum: int, _frame: FrameType | None) -> None:
        again, self.requested = self.requested, True
        if again or not self.deferrals:
            raise Preempted


_signal = _Signal()


def requested() -> bool:
    """Whether the signal has arrived."""
    return _signal.requested


def install_handler() -> None:
    """Handle the signals from now on; only the main thread may call this. `nohup` keeps its promise."""
    _signal.requested = False
    signal.signal(signal.SIGTERM, _signal.arrived)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _signal.arrived)


@contextmanager
def deferred() -> Iterator[None]:
    """While this context is open, a first signal only sets `requested`, which the caller has to poll."""
    _signal.deferrals += 1
    try:
        yield
    finally:
        _signal.deferrals -= 1
