"""Every task of a running job is killed and stopped: the run reaches its budget, and every update is accounted for."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.chaos.checker import check_run
from tests.chaos.history import History
from tests.chaos.nemesis import Nemesis, Strike
from tests.chaos.watched_runs import SLOW, run
from tests.marked import slow
from workers.messages import Task

KILL, STOP = signal.SIGKILL, signal.SIGSTOP
W0, W1, CHIEF, PS, EVALUATOR = (
    Task(*t) for t in [("worker", 0), ("worker", 1), ("chief", 0), ("ps", 0), ("evaluator", 0)]
)
KINDS = {KILL: "infrastructure", STOP: "hung"}
EVERY = 450
"""Steps between two strikes: more than are trained between two polls."""


def strikes(*plan: tuple[Task, signal.Signals], every: int = EVERY) -> list[Strike]:
    return [Strike(task, number, every * (at + 1)) for at, (task, number) in enumerate(plan)]


def check_restarts(history: History, nemesis: Nemesis, seconds: float) -> None:
    """Check that every strike was diagnosed correctly, and another attempt began within `seconds`."""
    restarts = history.of("restart")
    assert len(restarts) == len(nemesis.plan) == len(nemesis.struck)
    for (struck, strike), restart in zip(nemesis.struck, restarts, strict=True):
        assert (restart.task, restart.detail["failure"]) == (str(strike.task), KINDS[strike.signal])
        assert 0 <= restart.time - struck < seconds
    restarts, continued = nemesis.told[::2], nemesis.told[1::2]
    assert [text.partition(":")[0] for text in restarts] == [strike.task.type for strike in nemesis.plan]
    begun = [history.steps[attempt][0] - 1 for attempt in sorted(history.steps)][1:]
    for told, step in zip(continued, begun, strict=True):
        assert re.match(rf"training continues from step {step:,}; [\d,]+ steps? repeated", told), told


def test_sync_restarts_from_its_last_checkpoint_whichever_worker_is_lost(tmp_path: Path) -> None:
    """The retry budget is one restart, and is refilled because each attempt gets beyond the previous checkpoint."""
    nemesis = Nemesis(strikes((W0, KILL), (W1, STOP), (W1, KILL), (W0, STOP)))
    result = run(tmp_path, nemesis, mode="sync", steps=2700, interval=180, max_restarts=1)
    history = check_run(tmp_path, result, 2700, 180)
    assert result.attempts == 5
    check_restarts(history, nemesis, 20)


@pytest.mark.slow
def test_one_process_restarts_from_its_last_checkpoint(tmp_path: Path) -> None:
    nemesis = Nemesis(strikes((W0, KILL)))
    steps = 40_000  # it takes thousands between two polls
    result = run(tmp_path, nemesis, mode="single", steps=steps, interval=2000)
    history = check_run(tmp_path, result, steps, 2000)
    assert (result.attempts, result.tasks["worker"]) == (2, 1)
    check_restarts(history, nemesis, 60)


@pytest.mark.slow
def test_async_restarts_from_its_last_checkpoint_when_the_chief_or_a_ps_is_lost(tmp_path: Path) -> None:
    nemesis = Nemesis(strikes((CHIEF, KILL), (PS, KILL), (CHIEF, STOP), every=150))
    result = run(tmp_path, nemesis, mode="async", steps=600, interval=60, straggler=SLOW)
    history = check_run(tmp_path, result, 600, 60)
    assert result.attempts == 4
    check_restarts(history, nemesis, 60)


@pytest.mark.slow
def test_a_stopped_ps_holds_up_nothing_while_the_weights_are_in_memory(tmp_path: Path) -> None:
    nemesis = Nemesis(strikes((PS, STOP), every=100))
    result = run(tmp_path, nemesis, mode="async", steps=600, interval=60, straggler=SLOW)
    check_run(tmp_path, result, 600, 60)
    assert (result.attempts, len(nemesis.struck)) == (1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("number", [KILL, STOP], ids=lambda number: number.name)
def test_an_async_worker_is_replaced_while_the_others_train_on(number: signal.Signals, tmp_path: Path) -> None:
    nemesis = Nemesis(strikes((W1, number), every=100))
    steps = 500 if number is KILL else 800  # enough for the worker to rejoin before the end
    result = run(tmp_path, nemesis, mode="async", steps=steps, interval=200, straggler=SLOW)
    history = check_run(tmp_path, result, steps, 200)
    assert result.attempts == 1
    assert [(failure.task, failure.kind) for failure in result.failures] == [("worker:1", KINDS[number])]
    assert [event.task for event in history.of("rejoined")] == ["worker:1"]
    if number is KILL:
        assert history.longest_gap() < 5


@pytest.mark.slow
def test_a_stopped_worker_that_the_others_wait_for_is_replaced_alone(tmp_path: Path) -> None:
    """With a bound, the other worker waits for it, and must not be taken for hung."""
    nemesis = Nemesis(strikes((W1, STOP), every=100))
    result = run(tmp_path, nemesis, mode="ssp:1", steps=600, interval=300, straggler=SLOW)
    history = check_run(tmp_path, result, 600, 300)
    assert result.attempts == 1
    assert [(failure.task, failure.kind) for failure in result.failures] == [("worker:1", "hung")]
    assert [event.task for event in history.of("rejoined")] == ["worker:1"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [KILL, STOP], ids=lambda number: number.name)
@pytest.mark.parametrize(("mode", "workers"), [("kasync:3", 2), ("backup:1", 3)])
def test_a_worker_whose_gradients_are_gathered_is_replaced(
    mode: str, workers: int, number: signal.Signals, tmp_path: Path
) -> None:
    """Stopped, it cannot hold the lock; killed, it leaves the sums whole. Those that wait are not taken for hung."""
    nemesis = Nemesis(strikes((W1, number)))
    steps = 3000 if mode.startswith("kasync") else 800  # a call has one step, and takes a round trip
    result = run(tmp_path, nemesis, mode=mode, workers=workers, steps=steps, interval=steps // 3, launch_timeout=300)
    check_run(tmp_path, result, steps, steps // 3)
    assert result.attempts == 1
    assert [(failure.task, failure.kind) for failure in result.failures] == [("worker:1", KINDS[number])]
    assert result.dropped_gradients is not None


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["kasync:3", "backup:1"])
def test_what_is_gathered_outlives_the_parameter_server(mode: str, tmp_path: Path) -> None:
    nemesis = Nemesis(strikes((PS, KILL), (CHIEF, KILL)))
    result = run(tmp_path, nemesis, mode=mode, steps=1100, interval=181, launch_timeout=300)
    check_run(tmp_path, result, 1100, 181)
    assert result.attempts == 3


@pytest.mark.parametrize("mode", ["sync", slow("async")])
def test_a_lost_evaluator_does_not_disturb_training(mode: str, tmp_path: Path) -> None:
    nemesis = Nemesis(strikes((EVALUATOR, KILL), (EVALUATOR, STOP)))
    result = run(tmp_path, nemesis, mode=mode, steps=1800, interval=300)
    history = check_run(tmp_path, result, 1800, 300)
    assert result.attempts == 1
    # The second strike counts if the evaluator was ready again by then: on a busy machine training may end earlier, or
    # a new evaluator be slower to start than the short limit of these tests for a hung one.
    assert {failure.task for failure in result.failures} == {"evaluator:0"}
    assert "val_loss" in result.final
    assert len(history.of("leg_started")) == 1
