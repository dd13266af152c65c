"""The error tree. Every error that is shown to a user is one of these, and has an exit code.

    RegattaError
    ├── UsageError            2   a flag, spec, file or environment variable is wrong
    │   └── SpecError         2   a field of the spec is wrong: names it, its value, and what is allowed
    ├── JobError              3   the user's training code raised
    ├── Interrupted         130   Ctrl-C
    ├── Terminated            0   SIGTERM: the machine is about to be taken away, and the run can be resumed
    └── ClusterError          4   Ray or a machine failed
        ├── ResourcesError    2   the cluster does not have the requested resources
        ├── HostLostError     4   a host of the run was lost
        └── TaskDiedError     4   a replica's process ended without an error of its own

A message is one paragraph: what happened, to which field or task, where its log is, and what to try.
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
    """A flag, the spec, a file or the environment is wrong; nothing was started."""

    exit_code = 2


class SpecError(UsageError):
    """One field of the spec is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field

    def __reduce__(self) -> tuple[type[SpecError], tuple[str, str]]:
        return type(self), (self.field, self.message.removeprefix(f"{self.field}: "))


class JobError(RegattaError):
    """The user's training code raised; `traceback` is that of their error."""

    exit_code = 3

    def __init__(self, message: str, traceback: str = "", log: Path | None = None) -> None:
        super().__init__(message)
        self.traceback = traceback
        self.log = log

    def __reduce__(self) -> tuple[type[JobError], tuple[str, str, Path | None]]:
        return type(self), (self.message, self.traceback, self.log)


class Interrupted(RegattaError):  # noqa: N818 - an event rather than an error
    """The user ended the command with Ctrl-C."""

    exit_code = 130


class Terminated(RegattaError):  # noqa: N818 - an event rather than an error
    """SIGTERM ended the command; the run can be resumed."""

    exit_code = 0


class ClusterError(RegattaError):
    """Ray or a machine failed."""


class ResourcesError(ClusterError):
    """The cluster does not have the resources that the run needs."""

    exit_code = 2


class HostLostError(ClusterError):
    """A host of the run was lost, and the run cannot continue without it."""


class TaskDiedError(ClusterError):
    """A replica's process died, hung or was killed."""
