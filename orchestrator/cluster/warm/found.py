"""Finds this user's warm machine: for a command that may use it, and for `regatta up`, `down` and `doctor`."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.cluster.warm.facts import collect
from orchestrator.cluster.warm.state import MAX_ANSWER, State, keeper_address, send, unusable
from orchestrator.plan.topology import TaskPlan
from orchestrator.spec.job_description import shows_output, tell
from workers.session import SESSION_MARK, is_bound, peer_of

SWITCH = "REGATTA_WARM"
"""Environment variable that keeps commands off the warm machine if it is 0."""
_ANSWER_SECONDS = 2.0
_NO = ("", "0", "false", "no")


@dataclass
class Lease:
    """A command's use of the warm machine, until it is closed or the command ends."""

    state: State
    connection: socket.socket

    @contextlib.contextmanager
    def marking(self) -> Iterator[None]:
        """Inside, processes that this command starts are marked; the keeper kills what is left of them afterwards."""
        before = os.environ.get(SESSION_MARK)
        os.environ[SESSION_MARK] = self.state.mark
        try:
            yield
        finally:
            os.environ.pop(SESSION_MARK)
            if before is not None:
                os.environ[SESSION_MARK] = before
            self.connection.close()


class SilentError(OSError):
    """The keeper does not answer: it hangs or is stopped."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"its keeper (pid {pid}) does not answer")
        self.pid = pid


def lease(plans: Sequence[TaskPlan]) -> Lease | None:
    """The use of the warm machine for tasks of `plans`; None if there is none, or it may not be used.

    The reason is told to a user who asked for details.
    """
    if os.environ.get(SWITCH, "1").lower() in _NO:
        return None
    try:
        found = ask({"ask": "use"})
        if found is None:
            return None
        reason = "CI is set" if in_ci() else unusable(found.state, collect(), plans)
    except OSError as error:
        found, reason = None, str(error)
    if found is not None and reason is not None:
        found.connection.close()
    if shows_output.get():
        how = f"The warm machine is not used: {reason}." if reason else "This uses the warm machine of `regatta up`."
        tell.get()(how)
    return None if reason else found


def in_ci(environ: Mapping[str, str] | None = None) -> bool:
    """Whether this runs in continuous integration, where what one job leaves behind must not change the next."""
    return (os.environ if environ is None else environ).get("CI", "").lower() not in _NO


def ask(question: Mapping[str, Any]) -> Lease | None:
    """The keeper's answer, on a connection that the caller closes; None if there is no keeper, or it is starting.

    Raises:
        SilentError: it does not answer.
        OSError: another user has taken its address, or its answer cannot be read.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(_ANSWER_SECONDS)
    try:
        connection.connect(keeper_address())
        pid, user = peer_of(connection)
        if user != os.getuid():
            raise PermissionError(f"user {user} has taken its address")
        try:
            send(connection, question)
            return Lease(State.read(connection.recv(MAX_ANSWER)), connection)
        except TimeoutError:
            raise SilentError(pid) from None
        except (ValueError, TypeError, KeyError) as error:
            raise OSError(f"its keeper (pid {pid}) is of another version of Regatta, or is ending") from error
    except BaseException as error:
        connection.close()
        if isinstance(error, ConnectionRefusedError):
            return None
        raise


def held() -> bool:
    """Whether a keeper holds the address, which does not listen at first."""
    return is_bound(keeper_address())


def await_start(seconds: float, question: Mapping[str, Any]) -> Lease | None:
    """The answer of the keeper, which may be starting; None if there is none, or it was not ready in time."""
    deadline = time.monotonic() + seconds
    while (found := ask(question)) is None and held() and time.monotonic() < deadline:
        time.sleep(0.1)
    return found
