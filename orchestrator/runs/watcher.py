"""`Watcher`: what observes runs while they train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from orchestrator.control.coordinator import Tick
from orchestrator.results import RunResult
from orchestrator.spec.run import RunSpec

Stops = Callable[[Tick], str | None]
"""The reason to stop a run, after a poll of its group; None to go on."""


class Watcher(Protocol):
    """Observes runs while they train, such as the live view."""

    def run_begins(self, spec: RunSpec, run_id: str, path: Path) -> None: ...

    def launching(self, tick: Tick) -> None: ...

    def training(self, tick: Tick) -> None: ...

    def recovering(self, run_id: str, text: str) -> None: ...

    def run_ended(self, result: RunResult) -> None: ...


class NullWatcher:
    """Ignores every event."""

    def run_begins(self, spec: RunSpec, run_id: str, path: Path) -> None: ...

    def launching(self, tick: Tick) -> None: ...

    def training(self, tick: Tick) -> None: ...

    def recovering(self, run_id: str, text: str) -> None: ...

    def run_ended(self, result: RunResult) -> None: ...
