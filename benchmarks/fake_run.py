"""Runs one leg of fake replicas, in its own process so that its CPU time can be measured."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.child import Line
from benchmarks.fake_replicas import FakeEvaluator, FakeGroup

STEPS_PER_CALL = {"sync": 50, "async": 5}
"""Steps in a call of 100 ms: 500 sync steps per second, 50 updates per second from every async worker."""


def main() -> None:
    line = Line()
    from orchestrator.control.coordinator import Coordinator
    from orchestrator.control.machine import Machine, Rules
    from orchestrator.plan.topology import evaluator_plan, training_plans
    from orchestrator.runs.recorder import Recorder
    from orchestrator.spec.run import RunSpec
    from orchestrator.store.directory import RunStore
    from workers.messages import Leg
    from workers.modes.registry import traits

    name, seconds = line.request["mode"], line.request["seconds"]
    mode = traits(name)
    servers = 2 if mode.chief else 0
    workers = line.request["replicas"] - servers
    spec = RunSpec.make({"job": "digits", "mode": name, "workers": workers, "ps": 2, "samples": 2**40})
    group = FakeGroup(
        training_plans(spec),
        mode.leader,
        callers=1 if mode.lockstep else workers,
        steps=STEPS_PER_CALL[name],
        seconds=seconds,
    )
    coordinator = Coordinator(group, FakeEvaluator([evaluator_plan(spec)]), mode, Machine(Rules()))
    folder = Path("run")
    folder.mkdir()
    store = RunStore(folder)
    recorder = Recorder(spec, "fake", store, time.monotonic())
    coordinator.await_ready(time.monotonic() + 60, lambda tick: recorder.tick(1, tick))
    begun, cpu = time.monotonic(), time.process_time()
    leg = Leg("fake", spec.replica)
    coordinator.train(leg, None, None, lambda tick: recorder.tick(1, tick))
    wall, used = time.monotonic() - begun, time.process_time() - cpu
    store.close()
    line.answer(
        cpu_percent=100 * used / wall / len(group.tasks),
        at_work=sum(group.poll_gaps) / wall,
        behind=wall - seconds,
    )


if __name__ == "__main__":
    main()
