"""Following a submitted run: its output as it comes, over a connection that may break and come back.

What is followed is the job's log from its beginning, less what was shown already. So a lost connection loses
nothing, and following can be taken up again at any time; the run itself never notices.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Protocol

from orchestrator.errors import ClusterError
from orchestrator.submit.jobs_api import LostConnection, Submission

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 120.0
"""How long the cluster may be out of reach before following is given up."""
_RAYS_OWN = re.compile(r"\d{4}-\d\d-\d\d \S+\sINFO job_\w+\.py|Running entrypoint for job ")


class Source(Protocol):
    """Where a run is told of: `submission.Submissions`."""

    def status(self, run_id: str) -> Submission: ...

    def logs(self, run_id: str) -> str: ...


class Follower:
    """Shows whole lines, each once."""

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
        """Until the run is over.

        Raises:
            ClusterError: the cluster was out of reach for too long; the run goes on.
        """
        lost_since: float | None = None
        while True:
            try:
                run = self._source.status(run_id)  # first: what is printed before the end is then in the log
                text = self._source.logs(run_id)
            except LostConnection as error:
                now = self._clock()
                if lost_since is None:
                    lost_since = now
                    self._write(f"{error.message} The run goes on; trying again.\n")
                elif now - lost_since > PATIENCE_SECONDS:
                    raise ClusterError(
                        f"{error.message} The run goes on: `regatta logs -f {run_id}` takes up following again."
                    ) from error
                self._sleep(4 * POLL_SECONDS)
                continue
            lost_since = None
            self._show(text, whole=run.over)
            if run.over:
                return run
            self._sleep(POLL_SECONDS)

    def _show(self, text: str, *, whole: bool) -> None:
        end = len(text) if whole else text.rfind("\n") + 1
        for line in text[self._shown : end].splitlines(keepends=True):
            if not _RAYS_OWN.match(line):
                self._write(line)
        self._shown = max(self._shown, end)


def wait_for(look: Callable[[], Submission], seconds: float, sleep: Callable[[float], None] = time.sleep) -> Submission:
    """Look until the run is over.

    Raises:
        ClusterError: it is not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not (run := look()).over:
        if time.monotonic() > deadline:
            raise ClusterError(f"{run.run} is still {run.status} after {seconds:.0f} s.")
        sleep(POLL_SECONDS)
    return run
