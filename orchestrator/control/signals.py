"""Signals that end the command: Ctrl-C, and SIGTERM or SIGHUP, by which a machine or a terminal is taken away.

While a leg trains, a first signal only gives the reason to stop (`requested`): the coordinator polls it, stops the leg,
and waits for its checkpoint. At any other time there is nothing to save, and the signal ends the command at once, as
does a second signal at any time.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from workers.messages import INTERRUPTED, PREEMPTED


class Preempted(BaseException):
    """Raised by SIGTERM and SIGHUP; passes through `except Exception`, as KeyboardInterrupt does."""


class _Signals:
    def __init__(self) -> None:
        self.reason: str | None = None
        self.deferrals = 0

    def arrived(self, signum: int, _frame: FrameType | None) -> None:
        again = self.reason is not None
        self.reason = INTERRUPTED if signum == signal.SIGINT else PREEMPTED
        if again or not self.deferrals:
            raise ending()


_signals = _Signals()


def requested() -> str | None:
    """INTERRUPTED or PREEMPTED, the reason to stop, if a signal has arrived."""
    return _signals.reason


def ending() -> BaseException:
    """The exception with which the command ends after a signal to it or, without one, to its tasks."""
    return KeyboardInterrupt() if _signals.reason == INTERRUPTED else Preempted()


def install_handlers() -> None:
    """Handle the signals from now on; only the main thread may call this. `nohup` keeps its promise."""
    _signals.reason = None
    for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        if signum == signal.SIGTERM or signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, _signals.arrived)


@contextmanager
def deferred() -> Iterator[None]:
    """While this context is open, a first signal only sets `requested`, which the caller has to poll."""
    _signals.deferrals += 1
    try:
        yield
    finally:
        _signals.deferrals -= 1
