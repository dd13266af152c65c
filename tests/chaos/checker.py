"""Checks in a run's folder that no update was lost, doubled without being counted, or written by two attempts."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from orchestrator.results import RunResult
from tests.chaos.history import Event, History
from workers.addresses import split
from workers.modes.registry import stages, traits

LONGEST_CALL = 200
"""Steps by which a checkpoint may be written later than it was due."""


def check_run(run: Path, result: RunResult, budget: int, interval: int) -> History:
    """Check that a run reached its `budget`, in steps of its last mode, and wrote a checkpoint every `interval` steps.

    Returns its history.
    """
    history = History.read(run)
    assert (run / "result.json").is_file()
    assert (result.status, result.steps, result.samples) == ("succeeded", *_trained(history, result, budget)), result
    assert result.attempts > len(history.of("restart"))  # more, if some could not even be launched
    assert len(result.failures) == len(history.of("failure"))
    check_updates(history, result)
    check_restarts(history, interval)
    check_writers(history)
    check_clock(history, result)
    return history


def check_updates(history: History, result: RunResult) -> None:
    """Check that every update in the weights was reported, or is counted as doubled."""
    assert result.steps is not None
    doubled = result.doubled_updates or 0
    counted = result.steps + doubled
    assert result.optimizer_iterations is not None
    assert result.optimizer_iterations * gradients_of_an_update(result) + (result.dropped_gradients or 0) == counted
    last = max(history.steps)
    begins = _begins(history)
    for attempt, steps in history.steps.items():
        assert len(set(steps)) == len(steps), f"attempt {attempt} reported an update twice"
        assert steps[0] > begins.get(attempt, 0), f"attempt {attempt} reported updates before it began"
    own = [step for step in history.steps[last] if step <= counted]
    assert len(own) + doubled == counted - begins.get(last, 0)
    if traits(result.mode).lockstep:
        for attempt, steps in history.steps.items():
            first = begins.get(attempt, 0) + 1
            assert steps == list(range(first, first + len(steps))), f"a gap in the steps of attempt {attempt}"
        reported = set().union(*history.steps.values())
        assert reported | unreported(history) == set(range(1, result.steps + 1))


def gradients_of_an_update(result: RunResult) -> int:
    """Counted steps that make one update of the weights."""
    match result.mode.partition(":"):
        case "kasync", _, number:
            return int(number)
        case "backup", _, number if int(number):
            return result.tasks["worker"] - int(number)
    return 1


def unreported(history: History) -> set[int]:
    """Steps below a checkpoint whose reports were lost, which only the death of a supervisor or driver may cause."""
    lost: set[int] = set()
    for event in history.of("unreported"):
        kept_by = [e for e in history.of("failure") if e.attempt < event.attempt and "Ray actor" in e.detail["summary"]]
        assert kept_by or len(history.of("driver")) > 1, f"{event} without a supervisor or driver that was killed"
        lost |= set(range(event.detail["first"], event.detail["last"] + 1))
    return lost


def check_restarts(history: History, interval: int) -> None:
    """Check that each attempt starts from the last checkpoint before it, and repeats less than an interval."""
    for event in history.of("goes_on"):
        began = event.detail["step"]
        written = [e.detail["step"] for e in history.of("checkpoint") if e.attempt < event.attempt]
        assert began >= max(written, default=0), "the attempt did not start from the last checkpoint that was announced"
        before = [max(steps) for attempt, steps in history.steps.items() if attempt < event.attempt]
        assert max(before, default=0) - began <= interval + LONGEST_CALL


def check_writers(history: History) -> None:
    """Check that after an attempt has started, no earlier one writes a checkpoint or takes a step."""
    for event in history.of("goes_on"):
        late = [e for e in _after(event, history.of("checkpoint")) if e.attempt < event.attempt]
        assert not late, f"attempt {event.attempt} had begun when others wrote {late}"


def check_clock(history: History, result: RunResult) -> None:
    """Check that the parts of the run's clock add up to it, with the seconds that restarts took as recovery."""
    parts = {name: value for name, value in dict(result.seconds.parts).items() if value is not None}
    assert sum(parts.values()) == pytest.approx(result.seconds.elapsed, rel=0.03)
    restarts = history.of("restart")
    if restarts and result.seconds.parts.recovery is not None:
        begun = {event.attempt: event.time for event in history.of("goes_on")}
        took = sum(max(0.0, begun.get(event.attempt, event.time) - event.time) for event in restarts)
        assert result.seconds.parts.recovery >= 0.9 * took


def check_nothing_left(pids: Iterable[int], addresses: Iterable[str], seconds: float = 10.0) -> None:
    """Check that no process and no listening port outlives the run."""
    deadline = time.monotonic() + seconds
    while (left := [pid for pid in pids if _lives(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, f"processes that outlived their run: {left}"
    for address in addresses:
        with socket.socket() as probe:
            probe.settimeout(1)
            assert probe.connect_ex(split(address)) != 0, f"{address} is still listened on"


def _begins(history: History) -> dict[int, int]:
    """The step from which each attempt starts."""
    return {event.attempt: event.detail["step"] for event in history.of("goes_on")}


def _after(event: Event, others: Iterable[Event]) -> list[Event]:
    return [other for other in others if other.time > event.time]


def _trained(history: History, result: RunResult, budget: int) -> tuple[int, int]:
    """The steps and samples of a run of `budget` steps of its last mode: those of a mode before it may be larger."""
    batches = {leg.detail["trains"]: int(leg.detail["global_batch"]) for leg in history.of("leg_started")}
    *_, last = parts = stages(result.mode)
    samples, steps, begun = budget * batches[last.mode], 0.0, 0.0
    for part in parts:
        steps += (part.until - begun) * samples / batches[part.mode]
        begun = part.until
    return round(steps), samples


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False
