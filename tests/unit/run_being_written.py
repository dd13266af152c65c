"""A run whose folder is still being written, for tests of what watches runs."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.results import Finding, RunResult, Seconds, TargetResult
from orchestrator.store.directory import RunStore
from tests.made import in_order, status
from workers.messages import Task
from workers.news import CallTiming, Evaluation, GpuSample, HostSample, ReplicaState, Stamp, StepBatch

W0, W1, EVALUATOR = Task("worker", 0), Task("worker", 1), Task("evaluator", 0)
GLOBAL_BATCH, TOTAL = 64, 1000


class Writing:
    """Writes as the driver does; `committed` is when others can see it."""

    def __init__(self, path: Path, *, pid: int | None = None, **spec: Any) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.store = RunStore(path)
        fields = {"run_id": path.name, "job": "digits", "mode": "sync", "seed": 1, "workers": 2, "batch_size": 32}
        self.store.write_spec(fields | {"target": "val_accuracy>=0.95"} | spec)
        self.store.event(1, "driver", pid=os.getpid() if pid is None else pid, host=platform.node())
        self.step, self.clock = 0, 0.0
        self.committed()

    def committed(self) -> Writing:
        self.store.commit()
        return self

    def reports(self, task: Task = W0, state: ReplicaState = ReplicaState.TRAINING, **news: Any) -> Writing:
        self.store.add(1, status(task, *in_order(**news), state=state, pid=4711))
        return self

    def begins(self) -> Writing:
        self.store.event(1, "leg_started", W0, total_steps=TOTAL, global_batch=GLOBAL_BATCH)
        return self

    def trains(self, steps: int = 100, loss: float = 0.5, seconds: float = 0.1) -> Writing:
        numbers = np.arange(self.step + 1, self.step + steps + 1)
        clock = self.clock + np.linspace(0, seconds, steps + 1)[1:]
        self.step, self.clock = self.step + steps, self.clock + seconds
        batch = StepBatch("r", 0, numbers, clock, np.full(steps, loss), None, seconds, {"loss": loss})
        timing = CallTiming("r", 0, self.step, steps, self.clock, seconds, seconds, seconds / 10, None, 0.0)
        return self.reports(batches=(batch,), timings=(timing,))

    def evaluates(self, accuracy: float) -> Writing:
        stamp = Stamp("r", self.step, self.step * GLOBAL_BATCH, self.clock)
        return self.reports(EVALUATOR, evaluations=(Evaluation(stamp, {"val_accuracy": accuracy}, 0.1),))

    def samples(self, task: Task = W0, *gpus: GpuSample, cpu: float | None = 71.0) -> Writing:
        notes = () if gpus else ("GPU: not available (NVML library not found)",)
        return self.reports(task, samples=(HostSample(1.0, cpu, 1 << 20, 5.0, 6.0, 1e3, 2e3, None, None, gpus, notes),))

    def finds(self, kind: str = "spike", action: str = "warned") -> Writing:
        found = Finding(kind=kind, step=self.step, symptom=f"a {kind}", action=action)
        self.store.event(1, "finding", finding=kind, step=self.step, symptom=found.symptom, action=action)
        return self

    def ends(self, status: Any = "succeeded") -> Writing:
        self.store.event(1, status, reason="budget")
        self.store.close()
        target = TargetResult(metric="val_accuracy", op=">=", value=0.95, reached=True, seconds=2.5, steps=9, samples=9)
        seconds = Seconds(training=self.clock)
        self.store.write_result(
            RunResult(
                run_id=self.path.name,
                job="digits",
                mode="sync",
                seed=1,
                status=status,
                stop_reason="budget",
                tasks={"worker": 2},
                steps=self.step,
                seconds=seconds,
                target=target,
            )
        )
        return self
