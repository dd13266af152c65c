"""`RecentSnapshots`: the snapshots that a run may be rolled back to. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from orchestrator.results import Finding
from workers.news import Stamp

MARGIN: Mapping[str, int] = {"nan": 32, "divergence": 128}
"""Steps by which a snapshot has to precede a finding to count as good. A divergence is detected within 128 steps of the
lowest loss before it (`orchestrator.monitor.loss_rules`). NaN is detected at once, but weights degrade before."""
_Handle = TypeVar("_Handle")


class RecentSnapshots(Generic[_Handle]):
    """A few snapshots of a leg, selected so that one of them is always old enough to be good.

    Holds at most five, plus those added since the last call of `forget`.
    """

    _SPACING = MARGIN["divergence"] // 2

    def __init__(self) -> None:
        self._kept: list[tuple[Stamp, _Handle]] = []

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, stamp: Stamp, handle: _Handle) -> None:
        """Keep the snapshot, and drop the previous one if the one before that is close to it."""
        kept = self._kept
        if len(kept) > 1 and kept[-1][0].step - kept[-2][0].step < self._SPACING:
            kept.pop()
        kept.append((stamp, handle))

    def forget(self) -> None:
        """Drop snapshots that no future finding needs; all steps up to the last snapshot were examined."""
        if not self._kept:
            return
        good = self._kept[-1][0].step - max(MARGIN.values())
        old = [pair for pair in self._kept if pair[0].step <= good]
        self._kept = old[-1:] + self._kept[len(old) :]

    def before(self, finding: Finding) -> tuple[Stamp, _Handle] | None:
        """The latest snapshot that is good in view of `finding`; None if training has to restart from step 0."""
        last = (finding.step or 0) - MARGIN.get(finding.kind, 0)
        return next((pair for pair in reversed(self._kept) if pair[0].step <= last), None)

    def clear(self) -> None:
        self._kept = []
