"""A probe whose runs hold too few step times takes longer ones; if none is long enough, it says what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.foresight import probe
from orchestrator.spec.run import RunSpec

pytestmark = pytest.mark.unit


def updates_of_turns(enough: Callable[[int], bool], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """The updates of the runs of one kind, each of which takes a second for callbacks besides its steps."""
    spec = RunSpec(job="digits", mode="single", batch_size=32)
    taken: list[int] = []
    monkeypatch.setattr(probe, "has_enough", lambda _: enough(taken[-1]))
    schedule = probe._schedule({"single": spec}, tmp_path, 1.0, {})
    result: Any = None
    while True:
        try:
            planned = next(schedule) if result is None else schedule.send(result)
        except StopIteration:
            return taken[1:]  # without the scout
        taken.append((planned.spec.samples or 0) // 32)
        seconds = SimpleNamespace(elapsed=1.0 + taken[-1] / 1000)
        result = SimpleNamespace(status="succeeded", steps=taken[-1], seconds=seconds, stop_reason="samples")


def test_runs_of_few_step_times_are_repeated_longer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert updates_of_turns(lambda _: True, monkeypatch, tmp_path) == [24]
    assert updates_of_turns(lambda updates: updates > 200, monkeypatch, tmp_path) == [24, 96, 384]


def test_a_run_that_never_holds_enough_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"The probe of single took 6144 steps .*EarlyStopping.*raise --minutes"):
        updates_of_turns(lambda _: False, monkeypatch, tmp_path)
