"""What `regatta up` and `regatta down` do."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from orchestrator.cluster import token
from orchestrator.cluster.warm.facts import absolute, collect
from orchestrator.cluster.warm.found import Lease, SilentError, await_start, in_ci
from orchestrator.cluster.warm.shown import Warm, memory
from orchestrator.cluster.warm.state import State, unusable
from orchestrator.errors import ClusterError, UsageError
from workers import files
from workers.session import (
    LONGEST_OWN,
    PACKAGES,
    SESSION_MARK,
    is_bound,
    own_folder,
    remove_directories,
    session_directory,
    zygote_address,
)
from workers.supervisor.process import sweep

_START_SECONDS = 300.0
_END_SECONDS = 30.0
_ORPHAN_SECONDS = 15.0
"""A zygote without clients ends after five seconds."""
_PREFIX = "warm-"


def up(minutes: float) -> Warm:
    """Keep Ray and a zygote warm for `minutes` from now, with those that are up if there are some.

    Raises:
        UsageError: this is CI, or the machine that is up is not what would be started here.
        ClusterError: Ray or the zygote did not start.
    """
    if in_ci():
        raise UsageError("CI is set: nothing is kept warm where one job must not change the next.")
    environ = dict(os.environ)
    token.require_token()
    facts = collect(environ)
    extend = {"ask": "extend", "seconds": 60.0 * minutes}
    found, started = _asked(extend), False
    if found is None:
        _start(60.0 * minutes, json.dumps(facts.to_json()), environ)
        found, started = _asked(extend), True
    if found is None:
        raise ClusterError("The warm machine ended as soon as it was up; `regatta doctor` looks at this machine.")
    found.connection.close()
    if not started and (reason := unusable(found.state, facts, ())) is not None:
        raise UsageError(
            f"A warm machine is up, but cannot be used here: {reason}. `regatta down` ends it; then `regatta up` "
            "starts one that fits."
        )
    return Warm(found.state, memory(found.state), started)


def _asked(question: Mapping[str, Any]) -> Lease | None:
    try:
        return await_start(_START_SECONDS, question)
    except SilentError as error:
        raise ClusterError(f"A warm machine is up, but {error}. `regatta down` ends it.") from None
    except OSError as error:
        raise ClusterError(f"The warm machine cannot be asked: {error}.") from None


def down(*, now: bool) -> State | None:
    """End the warm machine at once, or, unless `now`, with the last of the commands that use it.

    Returns the state of one that still waits for a command; None if nothing is left of any.

    Raises:
        ClusterError: what a keeper has left is still used by a command.
    """
    try:
        found = await_start(_START_SECONDS, {"ask": "end", "now": now})
    except SilentError as error:
        with contextlib.suppress(ProcessLookupError):
            os.kill(error.pid, signal.SIGKILL)
        found = None
    except OSError as error:
        raise ClusterError(f"The warm machine cannot be asked: {error}.") from None
    if found is not None:
        with found.connection:
            if found.state.commands and not now:
                return found.state
            found.connection.settimeout(_END_SECONDS)
            with contextlib.suppress(OSError):
                found.connection.recv(1)  # nothing comes: it returns when the keeper has ended
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while _clear(force=now) and time.monotonic() < deadline:
        time.sleep(0.1)
    if _clear(force=now):
        raise ClusterError(
            "The keeper of the warm machine has ended, but a command still uses its zygote, which ends with it. "
            "`regatta down --now` ends both."
        )
    return None


def _start(seconds: float, facts: str, environ: Mapping[str, str]) -> None:
    """Start a keeper, and wait until it is ready or another one has taken the address."""
    _clear(force=False)
    session = f"{_PREFIX}{secrets.token_hex(4)}"  # Ray's sockets need short paths
    path = os.pathsep.join(part for part in (str(PACKAGES), absolute(environ.get("PYTHONPATH", ""))) if part)
    with files.append(session_directory(session) / "keeper.log", 0o600) as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "orchestrator.cluster.warm.keeper", session, str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd="/",
            env={**environ, "PYTHONPATH": path, SESSION_MARK: session},
            start_new_session=True,
        )
    try:
        problem = _first_line(process, facts.encode())
    except BaseException:  # such as Ctrl-C
        process.terminate()
        process.wait(_END_SECONDS)
        _clear(force=False)
        raise
    if problem is None:
        process.kill()
        raise ClusterError(f"Nothing was warm after {_START_SECONDS:.0f} s; see {session_directory(session)}.")
    if problem:
        raise ClusterError(f"Ray and TensorFlow could not be kept warm: {problem}")


def _first_line(process: subprocess.Popen[bytes], question: bytes) -> str | None:
    """The keeper's line: empty if it is ready; None if it did not come."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a keeper is started with pipes")
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(question)
        process.stdin.close()
    with process.stdout as answers:
        if not select.select([answers], [], [], _START_SECONDS)[0]:
            return None
        line = answers.readline().decode(errors="replace")
    return line.strip() if line else "its keeper ended"


def _clear(*, force: bool) -> bool:
    """Remove what a keeper that was killed has left, its processes and its folder; whether something stays.

    Unless `force`, it stays as long as its zygote lives, which ends by itself when no command uses it.
    """
    stays = False
    for folder in own_folder(LONGEST_OWN).glob(f"{_PREFIX}*"):
        if not force and is_bound(zygote_address(folder.name)):
            stays = True
            continue
        sweep(folder.name)
        remove_directories(folder.name)
    return stays
