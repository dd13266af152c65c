"""The steps of a leg: how many the run's samples are, where the leg ends, and how often it is evaluated."""

from __future__ import annotations

import math

from workers.messages import Leg, Start
from workers.modes.unsupported import refuse_unsupported
from workers.news import LegStarted
from workers.training.progress import Progress
from workers.training.trainer import Trainer

_DEFAULT_EVALUATIONS = 20


def planned(leg: Leg, trainer: Trainer, progress: Progress) -> tuple[LegStarted, int]:
    """The plan of `leg` for its report, and the step at which it ends.

    Raises:
        RegattaError: the mode that continues the leg cannot train the model, which is better known before training.
    """
    settings, mode = leg.settings, trainer.mode
    samples = settings.samples
    if samples is None:
        samples = math.ceil((settings.epochs or 1) * trainer.samples_per_epoch())
    total = progress.total_steps(samples)
    every = settings.eval_every or max(1, samples // _DEFAULT_EVALUATIONS)
    steps = max(1, math.ceil(every / progress.global_batch))
    before = leg.start or Start(0, 0, 0.0)
    plan = LegStarted(
        leg.run_id,
        total,
        progress.global_batch,
        steps,
        mode.shares,
        mode=settings.mode,
        steps_before=before.step,
        samples_before=before.samples,
    )
    if leg.until >= 1:
        return plan, total
    refuse_unsupported(mode.model, settings.mode, workers=1, merges=True)
    return plan, min(total, progress.total_steps(round(leg.until * samples)))
