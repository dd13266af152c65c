"""The result of a sweep, and its JSON. A quantity that was not measured is null, never 0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from orchestrator.results.measurements import Frozen
from orchestrator.results.run import SCHEMA_VERSION

Direction = Literal["maximize", "minimize"]


class Trial(Frozen):
    """One trial: the values that it tried, and what came of them."""

    number: int
    run_id: str
    params: Mapping[str, Any]
    state: Literal["finished", "pruned", "failed", "unfinished"]
    value: float | None = None
    """The metric at the end; where the trial was pruned, at its last evaluation."""
    steps: int | None = None
    elapsed_seconds: float | None = None


class Sweep(Frozen):
    schema_: int = Field(default=SCHEMA_VERSION, alias="schema")
    sweep_id: str
    job: str
    metric: str
    direction: Direction
    params: Mapping[str, str]
    """What was searched, as it was typed."""
    wanted: int
    """Trials that were asked for."""
    trials: tuple[Trial, ...] = ()
    best: int | None = None
    """Number of the best finished trial."""
    command: str | None = None
    """A command that trains the best trial's values alone."""
    importance: Mapping[str, float] | None = None
    """Share of each parameter in the spread of the metric (PED-ANOVA); null with fewer than eight finished trials."""

    @property
    def best_trial(self) -> Trial | None:
        return next((trial for trial in self.trials if trial.number == self.best), None)

    @property
    def ended(self) -> int:
        """Trials that have ended."""
        return sum(trial.state != "unfinished" for trial in self.trials)

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)
