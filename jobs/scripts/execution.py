"""One run of a script, and what it has come to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from jobs.scripts.stand_ins import Cluster


class Stopped(BaseException):
    """Unwinds a script whose rest is not run here. No `except Exception` of the script catches it."""


@dataclass(frozen=True)
class Script:
    """A script and its command line."""

    path: Path
    """Its file on this host."""
    shown: str
    """As the user wrote it."""
    arguments: tuple[str, ...] = ()
    seed: int = 0
    """What is added to the seeds that the script sets, so that several runs differ."""


@dataclass
class Execution:
    """One run of a script in one thread."""

    script: Script
    on_fit: Callable[[Any, int], Any]
    """Called for every `fit` (`jobs.scripts.intercept.Fit`), with its number from 1; returns what `fit` returns, or
    raises `Stopped`."""
    cluster: Cluster = field(default_factory=lambda: Cluster(named=False))
    module: ModuleType | None = None
    """The script's, once it runs."""
    dtype_policy: Any = None
    """Keras' global one at the wanted `fit`."""
    fits: int = 0
    seeded: bool = False
    """The script has set TensorFlow's seed itself."""
    notes: list[str] = field(default_factory=list)
    """What of the script is not run as written, each once."""
    answers: list[Any] = field(default_factory=list)
    """What `fit`, `evaluate` and `predict` have returned before the wanted `fit`."""
    keeps_answers: bool = True
    repeated: Iterator[Any] | None = None
    """The answers of an earlier run of the script in this process, that this one gets as well."""

    def answer(self, ask: Callable[[], Any]) -> Any:
        """What a call returns: what the same call returned before, if the script is repeated, else what `ask` does."""
        if self.repeated is not None:
            return next(self.repeated)
        found = ask()
        if self.keeps_answers:
            self.answers.append(found)
        return found

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
