"""How a reading fails: it is None, and its reason has a name. Never 0, and never an exception."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


class NotMeasured(Exception):  # noqa: N818 - not an error: the named reason why a value is missing
    """Raised inside a reading that cannot be made; its text is the reason that the owner will read."""


class Readings:
    """Makes the readings of one sample one after another and keeps the reasons of those that failed.

    `explain` turns an exception into a reason. What it raises itself goes through: that is how one failure
    ends a whole group of readings (a GPU that fell off the bus).
    """

    def __init__(self, explain: Callable[[Exception], str], prefix: str = "") -> None:
        self.notes: list[str] = []
        self._explain = explain
        self._prefix = prefix

    def read(self, name: str, make: Callable[[], Value]) -> Value | None:
        """The value `make` returns, or None with a note `<prefix><name>: <reason>`."""
        try:
            return make()
        except NotMeasured as reason:
            self.notes.append(f"{self._prefix}{name}: {reason}")
        except Exception as error:  # noqa: BLE001 - telemetry must never take the training down
            self.notes.append(f"{self._prefix}{name}: {self._explain(error)}")
        return None
