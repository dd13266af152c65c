"""The samples of each update in a comparison: equal where that is asked for, and learning rates that follow them. Pure.

Steps of different variants consume different numbers of samples: with two workers, one of `sync` takes two batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from orchestrator.spec.run import RunSpec

LearningRateScaling = Literal["none", "linear", "sqrt"]
_EXPONENTS: Mapping[LearningRateScaling, float] = {"none": 0.0, "linear": 1.0, "sqrt": 0.5}
_OWN_RATE = frozenset({"learning_rate", "learning_rate_scale"})

Runs = Mapping[str, RunSpec]
"""A run of each variant, by the variant's name; the first is the baseline."""


def fair_changes(
    runs: Runs, overrides: Mapping[str, Mapping[str, Any]], scaling: LearningRateScaling
) -> dict[str, dict[str, Any]]:
    """The fields to change in each variant, so that variants are as comparable as was asked for.

    A variant that is alone in its process takes as many samples per update as the first that is distributed, unless it
    has a batch size of its own. Then the learning rate of a variant follows its samples per update, in proportion to
    those of the baseline, unless it has a rate of its own. `overrides` are the variants' own fields.
    """
    changes = {name: _batch_size(name, runs, overrides[name]) for name in runs}
    per_update = {
        name: run.batches_per_step * changes[name].get("batch_size", run.batch_size) for name, run in runs.items()
    }
    baseline = next(iter(per_update.values()))
    for name, run in runs.items():
        if scaling != "none" and _OWN_RATE.isdisjoint(overrides[name]):
            factor = (per_update[name] / baseline) ** _EXPONENTS[scaling]
            changes[name]["learning_rate_scale"] = run.learning_rate_scale * factor
    return changes


def _batch_size(name: str, runs: Runs, own: Mapping[str, Any]) -> dict[str, Any]:
    run = runs[name]
    if not run.traits.alone or "batch_size" in own:
        return {}
    distributed = next((other for other in runs.values() if not other.traits.alone), run)
    return {"batch_size": max(1, distributed.samples_per_update // run.batches_per_step)}
