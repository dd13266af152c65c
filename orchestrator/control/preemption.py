"""SIGTERM to the driver: the machine is wanted back, and there is a little time.

While a leg trains, the signal is a wish: the coordinator sees it (`requested`), has the leg stopped and its
checkpoint written. At any other time there is nothing to save, and it ends the command at once, as a second one does.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Preempted(BaseException):
    """The command was told to end. Like KeyboardInterrupt it is nobody's error, and passes `except Exception`."""


class _Signal:
    def __init__(self) -> None:
        self.requested = False
        self.saving = 0

    def arrived(self, _signum: int, _frame: FrameType | None) -> None:
        again, self.requested = self.requested, True
        if again or not self.saving:
            raise Preempted


_signal = _Signal()


def requested() -> bool:
    """Whether the signal has come."""
    return _signal.requested


def listen() -> None:
    """From now on SIGTERM is heard, by this process' main thread."""
    _signal.requested = False
    signal.signal(signal.SIGTERM, _signal.arrived)


@contextmanager
def worth_saving() -> Iterator[None]:
    """In here the first signal only makes `requested` true: whoever is in here looks at it, and ends soon."""
    _signal.saving += 1
    try:
        yield
    finally:
        _signal.saving -= 1
