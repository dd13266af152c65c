"""Prints the log files of a run's tasks, each line behind its task, and follows them while the run trains."""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.store.directory import RESULT
from orchestrator.store.locks import is_driven
from orchestrator.view.follow import current_run
from orchestrator.view.own_lines import Routine
from workers import files

POLL_SECONDS = 0.3
_CHUNK = 1 << 20


class _Log:
    """One task's log file, read as it grows, in whole lines."""

    def __init__(self, path: Path) -> None:
        self.task = ":".join(path.stem.rsplit("-", 1))
        self._path = path
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._begun = ""
        self.is_routine = Routine()

    def lines(self, *, ended: bool) -> Iterator[str]:
        """Lines written since the last call; with `ended`, also a last one without a line break."""
        with files.open_regular(self._path) as file:
            file.seek(self._offset)
            while chunk := file.read(_CHUNK):
                self._offset += len(chunk)
                *whole, self._begun = (self._begun + self._decoder.decode(chunk)).split("\n")
                yield from whole
        if ended and self._begun:
            yield self._begun
            self._begun = ""


def print_logs(
    path: Path,
    task: str | None,
    write: Callable[[str], None],
    *,
    follow: bool = False,
    everything: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Write the lines of the logs of a run, or of the run that a comparison trained last.

    `task` is `worker:0` or `worker-0`; None stands for all tasks, whose lines then begin with the task's name. Unless
    `everything` is asked for, what TensorFlow writes in every run is left out.

    Raises:
        UsageError: `path` is not the folder of a run or a comparison, or no such task wrote a log.
    """
    run = current_run(path)
    logs: dict[Path, _Log] = {}
    while True:
        ended = not follow or (run / RESULT).exists() or is_driven(run) is False
        for file in sorted((run / "logs").glob("*.log")):
            logs.setdefault(file, _Log(file))
        shown = [log for log in logs.values() if task is None or log.task == task.replace("-", ":")]
        if not shown and ended:
            have = ", ".join(log.task for log in logs.values()) or "none"
            raise UsageError(f"No log of {task or 'any task'} in {run / 'logs'}. There are: {have}.")
        width = max((len(log.task) for log in shown), default=0)
        for log in shown:
            for line in log.lines(ended=ended):
                if log.is_routine(line) and not everything:
                    continue
                write(line if task is not None else f"{log.task:<{width}} | {line}")
        if ended:
            return
        sleep(POLL_SECONDS)
