"""Follows a submitted run: shows its output as it is written, over a connection that may break and come back.

Each poll reads the job's whole log and skips the lines already shown. So a broken connection loses no output, and
following can resume at any time; the run itself is not affected.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Protocol

from orchestrator.errors import ClusterError
from orchestrator.submit.jobs_api import LostConnection, Submission

POLL_SECONDS = 0.5
LOST_SECONDS = 120.0
"""Time for which the cluster may be unreachable before following gives up."""
_LINE_OF_RAY = re.compile(r"\d{4}-\d\d-\d\d \S+\sINFO job_\w+\.py|Running entrypoint for job ")


class Source(Protocol):
    """Status and log of submitted runs: `jobs_api.Submissions`."""

    def status(self, run_id: str) -> Submission: ...

    def logs(self, run_id: str) -> str: ...


class Follower:
    """Shows the output of a run, each complete line once."""

    def __init__(
        self,
        source: Source,
        write: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source = source
        self._write = write
        self._clock = clock
        self._sleep = sleep
        self._shown = 0

    def follow(self, run_id: str) -> Submission:
        """Show the run's output until it ends; returns its final state.

        Raises:
            ClusterError: the cluster was unreachable for too long; the run continues.
        """
        lost_since: float | None = None
        while True:
            try:
                run = self._source.status(run_id)  # before the log, so that the log of an ended run is complete
                text = self._source.logs(run_id)
            except LostConnection as error:
                now = self._clock()
                if lost_since is None:
                    lost_since = now
                    self._write(f"{error.message} The run continues; trying again.\n")
                elif now - lost_since > LOST_SECONDS:
                    raise ClusterError(
                        f"{error.message} The run continues: `regatta logs -f {run_id}` resumes following."
                    ) from error
                self._sleep(4 * POLL_SECONDS)
                continue
            lost_since = None
            self._show(text, complete=run.over)
            if run.over:
                return run
            self._sleep(POLL_SECONDS)

    def _show(self, text: str, *, complete: bool) -> None:
        end = len(text) if complete else text.rfind("\n") + 1
        for line in text[self._shown : end].splitlines(keepends=True):
            if not _LINE_OF_RAY.match(line):
                self._write(line)
        self._shown = max(self._shown, end)


def wait_for(poll: Callable[[], Submission], seconds: float, sleep: Callable[[float], None] = time.sleep) -> Submission:
    """Call `poll` until the run has ended.

    Raises:
        ClusterError: the run has not ended after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not (run := poll()).over:
        if time.monotonic() > deadline:
            raise ClusterError(f"{run.run} is still {run.status} after {seconds:.0f} s.")
        sleep(POLL_SECONDS)
    return run
