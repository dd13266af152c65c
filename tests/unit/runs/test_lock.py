"""The driver's lock is held until the result is written: a command that finds the run free finds how it ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.control.coordinator import Tick
from orchestrator.control.states import Training
from orchestrator.results import RunResult
from orchestrator.runs.execution import NullWatcher
from orchestrator.runs.runner import Runner
from orchestrator.spec.run import RunSpec
from orchestrator.store import directory
from orchestrator.store.locks import is_driven
from tests.made import in_order, status
from tests.unit.runs.test_recorder import W0, batch, ended
from workers.news import LegStarted

ANOTHER = """
import sys
from pathlib import Path
from orchestrator.store.locks import is_driven
print(is_driven(Path(sys.argv[1])))
"""


def concluded(runner: Runner) -> RunResult:
    news = in_order(leg_started=(LegStarted("r", 10, 64, 10),), batches=(batch(1, [0.5] * 10),))
    runner._recorder.tick(1, Tick(Training("r"), [status(W0, *news)]))
    return runner._conclude(ended(10))


def abandoned(runner: Runner) -> RunResult:
    return runner.abandon(RuntimeError("a failure"))


def interrupted(runner: Runner) -> RunResult:
    return runner.abandon(KeyboardInterrupt())


@pytest.mark.parametrize("end", [concluded, abandoned, interrupted])
def test_it_is_free_only_after_the_result_is_there(
    end: Callable[[Runner], RunResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Runner(
        RunSpec.make({"job": "digits"}), tmp_path, "run", NullWatcher(), {}, command_started=0.0, deadline=None
    )
    written = directory.write_atomically
    driven: list[bool | None] = []

    def write(path: Path, text: str) -> None:
        written(path, text)
        if path.name == "result.json":
            driven.append(is_driven(tmp_path))

    monkeypatch.setattr(directory, "write_atomically", write)
    end(runner)
    assert driven == [True], "while the result is written, and just after it"
    done = subprocess.run([sys.executable, "-c", ANOTHER, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
