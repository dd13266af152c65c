"""From steps to samples: the steps of another mode, or of a group of another size, have more or fewer samples."""

from __future__ import annotations

import json
from typing import NamedTuple

from orchestrator.report.stored import StoredRun
from orchestrator.text import is_number


class Stretch(NamedTuple):
    """Steps of a run that have equally many samples."""

    attempt: int
    """As it is stored with its steps: a rollback counts as another attempt there."""
    step: float
    """The last step before it."""
    samples: float
    """Samples up to there."""
    per_step: float
    """0 if it is not known."""

    def samples_at(self, step: float) -> float:
        """Samples trained on after `step`."""
        return self.samples + (step - self.step) * self.per_step


def stretches(run: StoredRun) -> dict[int, Stretch]:
    """The stretches of a run by the attempt that its steps are stored with; empty if an earlier version trained it."""
    found = {}
    for (detail,) in run.rows("SELECT detail FROM events WHERE kind = 'leg_started' ORDER BY rowid"):
        try:
            read = json.loads(str(detail))
            values = [read[name] for name in ("era", "steps_before", "samples_before", "global_batch")]
        except (ValueError, TypeError, KeyError):
            continue
        if all(map(is_number, values)):
            attempt, *rest = values
            found[int(attempt)] = Stretch(int(attempt), *map(float, rest))
    return found


def stretch_of(run: StoredRun, attempt: int) -> Stretch:
    """The stretch of one attempt."""
    return stretches(run).get(attempt) or Stretch(attempt, 0.0, 0.0, run.samples_per_step or 0.0)


def samples_at(run: StoredRun, step: float) -> float | None:
    """Samples trained on after `step`, by the last attempt that began before it; None if that is not known."""
    known = [stretch for stretch in stretches(run).values() if stretch.step <= step]
    stretch = max(known, key=lambda one: one.attempt, default=stretch_of(run, 0))
    return stretch.samples_at(step) if stretch.per_step else None
