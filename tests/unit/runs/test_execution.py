"""The order in which an execution trains its runs, and the effect of a timeout; session and runner are fakes."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.errors import ResourcesError
from orchestrator.runs import execution
from orchestrator.runs.execution import Execution, Schedule
from orchestrator.runs.planned import Planned
from orchestrator.spec.run import RunSpec

pytestmark = pytest.mark.unit


class FakeRunner:
    """Trains until the timeout of the command, if it has one."""

    def __init__(self, spec: RunSpec, path: Path, run_id: str, *_: Any, deadline: float | None, **__: Any) -> None:
        self.run_id = run_id
        self._deadline = deadline

    def prepare(self, group: Any) -> None: ...

    def await_ready(self, group: Any, deadline: float) -> None: ...

    def train(self, group: Any) -> Any:
        if self._deadline is not None:
            time.sleep(max(0.0, self._deadline - time.monotonic()) + 0.01)
        return SimpleNamespace(run_id=self.run_id, status="succeeded", stop_reason="budget")

    def abandon(self, error: BaseException) -> None: ...


def fake_session(monkeypatch: pytest.MonkeyPatch, *, room: int) -> None:
    """Simulate a cluster with room for `room` groups at once."""

    class FakeSession:
        def __init__(self, specs: list[RunSpec], **_: object) -> None:
            self.groups = {spec.variant_name: None for spec in specs}
            self.deadline = time.monotonic() + 60

        def __enter__(self) -> FakeSession:
            if len(self.groups) > room:
                raise ResourcesError("no room for all")
            return self

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(execution, "Session", FakeSession)
    monkeypatch.setattr(execution, "Runner", FakeRunner)
    monkeypatch.setattr(execution, "environment", lambda directory: {})


def runs(tmp_path: Path, seeds: int) -> tuple[list[Planned], list[Planned]]:
    planned = [
        Planned(RunSpec(job="digits", mode=mode, samples=64, seed=seed), tmp_path, f"{mode}-{seed}", claimed=True)
        for seed in range(seeds)
        for mode in ("sync", "async")
    ]
    return planned[:2], planned


def schedule(planned: list[Planned], results: list[Any]) -> Schedule:
    for run in planned:
        result = yield run
        results.append(result)


@pytest.mark.parametrize("room", [1, 2])
def test_every_run_is_trained_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    fake_session(monkeypatch, room=room)
    first_runs, all_runs = runs(tmp_path, 3)
    results: list[Any] = []
    Execution(None, None).run(first_runs, schedule(all_runs, results))
    assert [result.run_id for result in results] == [run.run_id for run in all_runs]


@pytest.mark.parametrize("room", [1, 2])
def test_runs_stopped_by_the_timeout_are_in_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Each variant gets its first run, even if it is short, and no run is started after that."""
    fake_session(monkeypatch, room=room)
    first_runs, all_runs = runs(tmp_path, 3)
    results: list[Any] = []
    Execution(0.05, None).run(first_runs, schedule(all_runs, results))
    assert [result.run_id for result in results] == ["sync-0", "async-0"]


def test_a_single_run_stopped_by_the_timeout_is_in_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_session(monkeypatch, room=1)
    (first, _), _ = runs(tmp_path, 1)
    results: list[Any] = []
    Execution(0.05, None).run([first], schedule([first], results))
    assert [result.run_id for result in results] == ["sync-0"]
