"""`--min-workers`: a host is lost, and the others continue; when it is back, its worker is restarted."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import TaskDiedError
from tests.chaos.checker import check_restarts, check_updates, check_writers
from tests.chaos.history import History
from tests.chaos.watched_runs import BATCH, SLOW, ApartBackend, Onlooker, launched
from tests.marked import slow
from workers.messages import Task

INTERVAL = 100


class Weather(Onlooker):
    """Makes the host of worker:2 unreachable for a while."""

    def __init__(self, away: int, back: int | None) -> None:
        """Unreachable from step `away` to step `back`."""
        super().__init__()
        self.backend: ApartBackend
        self._when: list[tuple[int, Callable[[], None]]] = [(away, self._take)]
        if back is not None:
            self._when.append((back, self._give_back))
        self.acts = [lambda _: self._pass()]

    def _pass(self) -> None:
        if self._when and self.step >= self._when[0][0]:
            self._when.pop(0)[1]()

    def _give_back(self) -> None:
        self.backend.lost_hosts.clear()

    def _take(self) -> None:
        self.backend.lost_hosts.add("worker:2")
        for task in [Task("worker", 2), Task("chief", 0)]:  # async would continue if only the worker was lost
            self.send(task, signal.SIGKILL)


@pytest.mark.parametrize("mode", [slow("sync"), "async"])
def test_a_run_shrinks_and_grows_back(mode: str, tmp_path: Path) -> None:
    weather = Weather(300, 700)
    batches = 3 if mode == "sync" else 1
    samples = 1500 * batches * BATCH
    fields = {
        "job": "exact.py", "mode": mode, "workers": 3, "min_workers": 2, "batch_size": BATCH, "samples": samples,
        "eval_every": samples // 3, "steps_per_call": 20, "checkpoint_every": INTERVAL * batches * BATCH,
    }  # fmt: skip
    if mode == "async":
        fields["straggler"] = SLOW
    with launched(tmp_path / "run", weather, **fields) as (runner, group, backend):
        weather.backend = backend
        result = runner.train(group)
    history = History.read(tmp_path / "run")
    assert [event.detail["workers"] for event in history.of("resized")] == [2, 3]
    assert (result.status, result.fewest_workers) == ("succeeded", 2)
    assert result.samples is not None
    assert samples <= result.samples < samples + 3 * BATCH
    check_updates(history, result)
    check_restarts(history, INTERVAL * 2)
    check_writers(history)
    smaller, larger = (event.detail["step"] for event in history.of("goes_on"))
    lost = 300 + 2 * INTERVAL
    assert smaller <= lost
    assert max(history.steps[2]) == larger, "growing back costs no step"
    assert any("2 of 3 workers" in text for text in weather.told)
    shares = [event.detail["global_batch"] for event in history.of("leg_started")]
    assert shares == ([96, 64, 96] if mode == "sync" else [32] * 3)


def test_too_few_workers_end_the_run(tmp_path: Path) -> None:
    weather = Weather(100, None)
    fields = {"job": "exact.py", "workers": 3, "min_workers": 3, "samples": 10**6, "steps_per_call": 20}

    def train() -> None:
        with launched(tmp_path / "run", weather, **fields) as (runner, group, backend):
            weather.backend = backend
            runner.train(group)

    with pytest.raises(TaskDiedError, match="room for 2 workers, and --min-workers requires 3"):
        train()
