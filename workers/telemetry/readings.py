"""Readings that may fail: a failed one is None, never 0, with its reason in a note; it raises no exception."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


class NotMeasured(Exception):  # noqa: N818 - not an error, but the reason why a value is missing
    """Raised by a reading that cannot be made; its text is the reason, which the user reads."""


class Readings:
    """Makes the readings of one sample, and keeps the reasons of those that failed.

    `explain` turns an exception into a reason. An exception that it raises itself is propagated, so that one
    failure can end a whole group of readings (a GPU that fell off the bus).
    """

    def __init__(self, explain: Callable[[Exception], str], prefix: str = "") -> None:
        self.notes: list[str] = []
        self._explain = explain
        self._prefix = prefix

    def read(self, name: str, make: Callable[[], Value]) -> Value | None:
        """The value that `make` returns, or None with a note `<prefix><name>: <reason>`."""
        try:
            return make()
        except NotMeasured as reason:
            self.notes.append(f"{self._prefix}{name}: {reason}")
        except Exception as error:  # noqa: BLE001 - telemetry must never take the training down
            self.notes.append(f"{self._prefix}{name}: {self._explain(error)}")
        return None
