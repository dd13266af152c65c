"""The result of a check of `regatta doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

GIB = 2**30


class Status(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """The result of one check, a line of the report."""

    name: str
    status: Status
    detail: str
    """What was found."""
    remedy: str = ""
    """What to do; empty if there is nothing to do."""
