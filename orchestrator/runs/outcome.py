"""Parts of a run's result that follow from how its last leg ended."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.control.orders import Ended
from orchestrator.results import TargetResult, Throughput
from orchestrator.spec.run import RunSpec
from orchestrator.store import summaries
from workers.messages import NOT_FINITE
from workers.modes.traits import ModeTraits
from workers.news import LegFinished


def throughput(ended: Ended | None, training: float | None) -> Throughput:
    """Steps and samples per second of `training`, which callbacks do not slow down."""
    if ended is None or training is None or training <= 0:
        return Throughput()
    return Throughput(steps_per_s=ended.finished.steps / training, samples_per_s=ended.finished.samples / training)


def counts(finished: LegFinished | None, row: ModeTraits, mode: str, path: Path) -> dict[str, Any]:
    """The fields of a result that count something besides steps and samples; empty if nothing finished."""
    if finished is None:
        return {}
    own: dict[str, int | None] = asdict(finished.counts)
    if set(summaries.modes(path)) - {mode}:  # what the last mode counts is not the whole run
        own = dict.fromkeys(own)
    return {
        "optimizer_iterations": finished.optimizer_iterations,
        "doubled_updates": None if row.lockstep else finished.doubled_updates,
        **own,
    }


def target_result(spec: RunSpec, ended: Ended | None) -> TargetResult | None:
    """Whether and when the target was reached; None for a run without a target."""
    target = spec.parsed_target
    if target is None:
        return None
    hit = ended.reached.stamp if ended and ended.reached else None
    return TargetResult(
        metric=target.metric,
        op=target.op,
        value=target.value,
        reached=hit is not None,
        seconds=hit.clock if hit else None,
        training_seconds=hit.training if hit else None,
        further_seconds=max(0.0, ended.finished.seconds - hit.clock) if hit and ended else None,
        further_samples=max(0, ended.finished.samples - hit.samples) if hit and ended else None,
        steps=hit.step if hit else None,
        samples=hit.samples if hit else None,
    )


def final(run: Path | None, ended: Ended | None) -> dict[str, float | None]:
    """The last evaluation, and the final training loss of the run in folder `run`, if its metrics are complete.

    All null if the weights are lost: the last evaluation is of an earlier state.
    """
    metrics: dict[str, float | None] = dict(ended.last.metrics) if ended and ended.last else {}
    loss = summaries.final_loss(run) if run else None
    found = metrics if loss is None else {"loss": loss, **metrics}
    return dict.fromkeys(found) if ended and ended.finished.stopped == NOT_FINITE else found


def not_finite(finished: LegFinished, checkpoint: str | None) -> str:
    """What happened to a run whose weights are lost, for people; `checkpoint` is the name of its last one."""
    left = f"its last finite checkpoint is checkpoints/{checkpoint}" if checkpoint else "it has no finite checkpoint"
    return f"the weights are NaN or infinite at step {finished.steps:,}, so the run was stopped; {left}"
