"""Folders of simulated runs, written by the real store."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.results import RunResult, Seconds, Staleness
from orchestrator.store.directory import RunStore
from tests.unit.simulated_runs import a_run
from workers.messages import Task
from workers.news import Evaluation, GpuSample, HostSample, LegStarted, ReplicaState, ReplicaStatus, Stamp, StepBatch

STEPS = 200
BEGAN = 1_795_000_000.0


def store_run(
    folder: Path,
    mode: str,
    seed: int,
    to_target: float | None = 10.0,
    *,
    phases: Seconds | None = None,
    workers: int = 2,
    hosts: bool = False,
    gpu: str | None = None,
    with_result: bool = True,
    spec: Mapping[str, Any] | None = None,
    slow: float = 1.0,
    **changes: Any,
) -> RunResult:
    """Write a run's folder: a falling loss, ten evaluations, and samples of hosts and GPUs on request."""
    run_id = changes.pop("run_id", f"{folder.name}-{mode}-s{seed}")
    is_async = mode.startswith("async")
    tasks = {"worker": workers, **({"chief": 1, "ps": 1} if is_async else {}), "evaluator": 1}
    stale = Staleness(mean=1.0, p50=1.0, p95=3.0, max=6.0) if is_async else None
    fields = {"run_id": run_id, "variant": mode, "tasks": tasks, "steps": STEPS, "staleness": stale} | changes
    result = a_run(mode, seed, to_target, **fields)
    if phases is not None:
        result = result.model_copy(update={"seconds": phases})
    path = folder / "runs" / f"{mode}-s{seed}"
    path.mkdir(parents=True)
    store = RunStore(path)
    written = {
        "job": result.job,
        "params": {"hidden": 64},
        "mode": mode,
        "variant": result.variant,
        "workers": workers,
        "batch_size": 25,
    }
    written |= {"target": "val_accuracy>=0.95", "seed": seed, "variant": mode, "run_id": run_id}
    written |= spec or {}
    store.write_spec(written)
    store.write_plan({"mode": mode, "tasks": [], "budget": {"samples_per_step": 50}})
    training = result.seconds.training or 12.0
    store.event(1, "launch")
    store.add(1, _trained(run_id, training, is_async, seed))
    for task in _tasks(tasks) if hosts or gpu else ():
        factor = slow if str(task) == "worker:1" else 1.0
        store.add(1, _watched(task, training, gpu if task.type == "worker" else None, factor))
    store.close()
    if with_result:
        store.write_result(result)
    return result


def store_comparison(folder: Path, variants: Mapping[str, float] | None = None, seeds: int = 3, **options: Any) -> Path:
    """Write runs of variants with these median seconds to the target, without comparison.json."""
    noise = (0.96, 1.03, 1.0, 1.05, 0.98, 1.01, 0.97)
    for seed in range(seeds):
        for name, seconds in (variants or {"sync": 10.0, "async": 4.0}).items():
            store_run(folder, name, seed, seconds * noise[(seed + len(name)) % 7], **options)
    return folder


def _trained(run_id: str, training: float, is_async: bool, seed: int) -> ReplicaStatus:
    steps = np.arange(1, STEPS + 1)
    clock = training * steps / STEPS
    noise = np.random.default_rng(seed).normal(0, 0.15, STEPS)
    losses = 2.3 * np.exp(-4 * steps / STEPS + noise) + 0.02
    staleness = np.abs(np.random.default_rng(seed).poisson(1.0, STEPS)).astype(float) if is_async else None
    batch = StepBatch(run_id, 0, steps, clock, losses, staleness, training, {"loss": 1.0})
    marks = range(STEPS // 10, STEPS + 1, STEPS // 10)
    return ReplicaStatus(
        Task("chief" if is_async else "worker", 0),
        ReplicaState.TRAINING,
        (
            LegStarted(run_id, STEPS, 50, 20),
            batch,
            *(_scored(run_id, step, training * step / STEPS, seed) for step in marks),
        ),
    )


def _scored(run_id: str, step: int, clock: float, seed: int) -> Evaluation:
    accuracy = 0.98 - 0.5 * math.exp(-5 * step / STEPS) + 0.002 * (seed % 3)
    stamp = Stamp(run_id, step, step * 50, clock, final=step == STEPS)
    return Evaluation(stamp, {"val_accuracy": accuracy, "val_loss": 2.5 * (1 - accuracy)}, 0.02)


def _tasks(counts: Mapping[str, int]) -> Sequence[Task]:
    return [Task(kind, index) for kind, count in counts.items() for index in range(count)]


def _watched(task: Task, training: float, gpu: str | None, factor: float) -> ReplicaStatus:
    samples = []
    for second in np.arange(0, training, 0.5):
        cpu = (85 if task.type == "worker" else 30) / factor + 8 * math.sin(second)
        card = GpuSample("GPU-0123", gpu, 70 + 10 * math.cos(second), 2**30, 2**34, 2**29, 120.0, 60.0)
        seen = HostSample(
            time=BEGAN + second,
            cpu_percent=cpu,
            rss_bytes=int(2**29 * (1 + second / training)),
            host_cpu_percent=50.0,
            host_memory_percent=40.0,
            net_sent_per_s=2e6,
            net_received_per_s=1e6,
            disk_read_per_s=None,
            disk_written_per_s=None,
            gpus=(card,) if gpu else (),
            notes=() if gpu else ("GPU: NVML library not found",),
        )
        samples.append(seen)
    return ReplicaStatus(task, ReplicaState.TRAINING, tuple(samples))
