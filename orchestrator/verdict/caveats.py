"""Caveats: what keeps the variants of a comparison from being comparable. Pure."""

from __future__ import annotations

from orchestrator.verdict.evidence import Modes
from orchestrator.verdict.summary import common


def caveats(modes: Modes, *, tuned: bool) -> list[str]:
    """Whole sentences. `tuned`: every variant's learning rate was tuned."""
    samples = {name: common(run.samples_per_update for run in runs) for name, runs in modes.items()}
    learning_rates = {name: common(run.learning_rate for run in runs) for name, runs in modes.items()}
    sizes_at: dict[float, dict[str, int]] = {}
    for name, rate in learning_rates.items():
        if rate is not None and (size := samples[name]) is not None:
            sizes_at.setdefault(rate, {})[name] = size
    found = []
    for rate, sizes in sizes_at.items():
        if len(set(sizes.values())) > 1 and not tuned:
            listed = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
            found.append(
                f"Samples per update differ at one learning rate, {rate:.4g}: {listed}. It may suit some better than "
                "others: --tune-lr finds one for each variant, --lr-scaling follows a rule, and --global-batch-size "
                "makes the samples equal."
            )
    return found
