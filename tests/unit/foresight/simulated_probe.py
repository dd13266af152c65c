"""Measurements of a simulated probe: a job whose steps cost what the arguments say."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from orchestrator.foresight.measured import Measured, Point

EVERY = 1000


def a_measurement(
    mode: str,
    workers: int,
    update: float,
    *,
    batch: int = 32,
    work: float = 0.01,
    cpu: float | None = 0.0,
    staleness: float | None = None,
    needs: float = 10_000,
    sleep: float = 0.0,
    straggler: str = "none",
    noise: float | None = None,
    evaluations: int = 40,
) -> Measured:
    """A run with `update` seconds per update, of which 90 % of the error is gone after `needs` samples."""
    jitter = 1 + 0.02 * np.random.default_rng(len(mode) + workers).standard_normal(40)
    per_update = batch * (workers if mode == "sync" else 1)
    curve = tuple(
        Point(EVERY * n, EVERY * n / per_update * update, {"val_accuracy": 1 - 0.1 ** (EVERY * n / needs)})
        for n in range(1, evaluations + 1)
    )
    return Measured(
        mode=mode,
        straggler=straggler,
        workers=workers,
        batch_size=batch,
        samples_per_update=per_update,
        steps=evaluations * EVERY // per_update,
        clock=update * jitter / jitter.mean(),
        work=tuple(np.full(20, work) for _ in range(workers)),
        exchange=np.full(20, 0.001),
        gap=0.0,
        sleep=sleep,
        input_wait=0.0001,
        cpu=cpu,
        staleness=staleness,
        estimates_noise=noise is not None,
        noise=noise,
        curve=curve,
        start=0.0,
    )


def a_probe(
    exchange: float = 0.001, slowdown: float = 1.0, penalty: float = 0.1, cpu: float = 0.0
) -> Mapping[str, Measured]:
    """Ten milliseconds of work per step. Twice the samples per update need 1.2 times the samples to the target."""
    return {
        "single": a_measurement("single", 1, 0.01),
        "single x2": a_measurement("single", 1, 0.018, batch=64, needs=12_000),
        "sync 2": a_measurement("sync", 2, 0.01 + exchange, cpu=cpu, needs=12_000),
        "async 1": a_measurement("async", 1, 0.01, cpu=cpu, staleness=0.0),
        "async 2": a_measurement("async", 2, 0.01 * slowdown / 2, cpu=cpu, staleness=1.0, needs=10_000 * (1 + penalty)),
    }


def error_at(target: float, needs: float = 10_000) -> float:
    """Samples at which the simulated curve meets `target`."""
    return needs * -math.log10(1 - target)
