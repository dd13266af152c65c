"""The findings of one run, with the actions that were really taken."""

from __future__ import annotations

from orchestrator.control.rollback import ACTED_ON, stop_reason
from orchestrator.results import Finding
from workers.messages import NOT_FINITE
from workers.news import LegFinished


class Findings:
    """Collects findings. An action was ordered when a finding was added, and may not have been taken."""

    def __init__(self) -> None:
        self._all: list[Finding] = []
        self._rolled_back: dict[int, str] = {}
        """Actions of findings that led to a rollback, by index."""

    def add(self, finding: Finding) -> None:
        self._all.append(finding)

    def rolled_back(self, step: int) -> None:
        """The run was rolled back to `step`, because of the latest finding that requires a reaction."""
        for index in reversed(range(len(self._all))):
            if self._all[index].kind in ACTED_ON:
                self._rolled_back.setdefault(index, f"rolled back to step {step}")
                return

    def taken(self, reason: str, finished: LegFinished | None) -> tuple[Finding, ...]:
        """All findings of a run that ended for `reason`. One is added if lost weights ended it and none says so."""
        found = [one.model_copy(update={"action": self._action(i, one, reason)}) for i, one in enumerate(self._all)]
        if reason == NOT_FINITE and not any(one.action == "stopped" for one in found):
            step, clock = (finished.steps, finished.seconds) if finished else (None, None)
            symptom = "the weights are NaN or infinite"
            found.append(Finding(kind="nan", step=step, clock=clock, symptom=symptom, action="stopped"))
        return tuple(found)

    def _action(self, index: int, finding: Finding, reason: str) -> str:
        if index in self._rolled_back:
            return self._rolled_back[index]
        last_loss = max((i for i, one in enumerate(self._all) if one.kind == "nan"), default=None)
        ended_it = reason == stop_reason(finding) or (reason == NOT_FINITE and index == last_loss)
        return "stopped" if ended_it else "warned"
