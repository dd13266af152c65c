"""The error tree. Every error a user can cause is one of these, and knows its exit code.

    RegattaError
    ├── UsageError            2   wrong flag, spec, file or environment
    │   └── SpecError         2   a field of the spec: names it, its value, and what is allowed
    ├── JobError              3   the user's training code raised
    ├── Interrupted         130   Ctrl-C
    ├── WantedBack            0   SIGTERM: the machine is wanted back, and the run can be resumed
    └── ClusterError          4   Ray or the machines failed
        ├── ResourcesError    2   the cluster cannot offer what was asked: the spec has to change
        ├── HostLostError     4   a host went away that tasks have their places on
        └── TaskDiedError          4   a replica's process ended without saying why

A message is one paragraph: what happened, to which field or task, where its log is, what to try.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class RegattaError(Exception):
    """Base of all errors shown to a user as one paragraph instead of a traceback."""

    exit_code: ClassVar[int] = 4

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UsageError(RegattaError):
    """The command, the spec, a file or the environment is wrong; nothing was started."""

    exit_code = 2


class SpecError(UsageError):
    """One field of the spec is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field

    def __reduce__(self) -> tuple[type[SpecError], tuple[str, str]]:
        return type(self), (self.field, self.message.removeprefix(f"{self.field}: "))


class JobError(RegattaError):
    """The user's own code raised in a task; `traceback` is theirs."""

    exit_code = 3

    def __init__(self, message: str, traceback: str = "", log: Path | None = None) -> None:
        super().__init__(message)
        self.traceback = traceback
        self.log = log

    def __reduce__(self) -> tuple[type[JobError], tuple[str, str, Path | None]]:
        return type(self), (self.message, self.traceback, self.log)


class Interrupted(RegattaError):  # noqa: N818 - not an error of anybody's
    """The user ended the command."""

    exit_code = 130


class WantedBack(RegattaError):  # noqa: N818 - not an error of anybody's
    """The command was told to end by whoever lends the machine."""

    exit_code = 0


class ClusterError(RegattaError):
    """Ray or a machine failed."""


class ResourcesError(ClusterError):
    """The cluster has not got what the topology needs."""

    exit_code = 2


class HostLostError(ClusterError):
    """A host is gone on which tasks of the run have their places."""


class TaskDiedError(ClusterError):
    """A replica's process ended without an exception of its own."""
