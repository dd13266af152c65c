"""What is done about a finding: say it, end the run, or roll back to a snapshot from before it. Pure.

Only a loss that does not come back by itself calls for more than words: NaN or infinity, and divergence. A spike is
over when it is reported, and a plateau, an oscillation or overfitting is for the owner to weigh.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, Literal, TypeVar

from orchestrator.results import Finding
from workers.news import Stamp

Policy = Literal["warn", "stop", "rollback"]

ACTED_ON = ("nan", "divergence")
LEARNING_RATE_FACTOR = 0.5
"""A rollback goes on with the learning rate times this."""
MARGIN: Mapping[str, int] = {"nan": 32, "divergence": 128}
"""Steps between a snapshot that counts as good and the finding: a divergence is seen within 128 steps of the lowest
loss before it (`orchestrator.monitor.loss_rules`); NaN is seen at once, but the weights went astray before."""
_Handle = TypeVar("_Handle")


def reaction(policy: Policy, finding: Finding, *, rolled_back: bool) -> Policy:
    """What to do about `finding`. A run is rolled back once; what is unstable after that is stopped."""
    if finding.kind not in ACTED_ON:
        return "warn"
    return "stop" if policy == "rollback" and rolled_back else policy


def named(finding: Finding) -> str:
    """A finding as a stop reason: `divergence at step 812`."""
    return finding.kind if finding.step is None else f"{finding.kind} at step {finding.step}"


class RecentSnapshots(Generic[_Handle]):
    """A few snapshots of a leg, chosen so that one of them is always old enough to be good.

    At most five, and those that came since `forget` was last called."""

    _SPACING = MARGIN["divergence"] // 2

    def __init__(self) -> None:
        self._kept: list[tuple[Stamp, _Handle]] = []

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, stamp: Stamp, handle: _Handle) -> None:
        """Keep the snapshot, and forget the one before it if that is close to its own."""
        kept = self._kept
        if len(kept) > 1 and kept[-1][0].step - kept[-2][0].step < self._SPACING:
            kept.pop()
        kept.append((stamp, handle))

    def forget(self) -> None:
        """All steps up to the last snapshot were looked at: forget what no finding will go back to any more."""
        if not self._kept:
            return
        good = self._kept[-1][0].step - max(MARGIN.values())
        old = [pair for pair in self._kept if pair[0].step <= good]
        self._kept = old[-1:] + self._kept[len(old) :]

    def before(self, finding: Finding) -> tuple[Stamp, _Handle] | None:
        """The last good snapshot; None when training has to begin anew."""
        last = (finding.step or 0) - MARGIN.get(finding.kind, 0)
        return next((pair for pair in reversed(self._kept) if pair[0].step <= last), None)

    def clear(self) -> None:
        self._kept = []
