"""One leg of replicas that are not there, in a process of its own so that its CPU can be told apart."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.child import Line
from benchmarks.fake_replicas import FakeEvaluator, FakeGroup

STEPS_PER_CALL = {"sync": 50, "async": 5}
"""What a call of 100 ms holds: 500 sync steps a second, 50 updates a second of every async worker."""


def main() -> None:
    line = Line()
    from orchestrator.control.coordinator import Coordinator
    from orchestrator.plan import topology
    from orchestrator.plan.topology import training_plans
    from orchestrator.runs.recorder import Recorder
    from orchestrator.spec.run import make_run_spec
    from orchestrator.store.directory import RunStore
    from workers.messages import Leg

    mode, seconds = line.request["mode"], line.request["seconds"]
    servers = 2 if mode == "async" else 0
    workers = line.request["replicas"] - servers
    spec = make_run_spec({"job": "digits", "mode": mode, "workers": workers, "samples": 2**40})
    group = FakeGroup(
        training_plans(spec),
        topology.leader(mode),
        callers=workers if mode == "async" else 1,
        steps=STEPS_PER_CALL[mode],
        seconds=seconds,
    )
    coordinator = Coordinator(
        group,
        FakeEvaluator([topology.plan_evaluator(1)]),
        leader=topology.leader(mode),
        trainers=topology.trainers(mode, workers),
    )
    folder = Path("run")
    folder.mkdir()
    store = RunStore(folder)
    recorder = Recorder(spec, "fake", store, time.monotonic())
    coordinator.await_ready(time.monotonic() + 60, lambda tick: recorder.tick(1, tick))
    begun, cpu = time.monotonic(), time.process_time()
    leg = Leg("fake", 0, None, None, None, None)
    coordinator.run(leg, None, None, lambda tick: recorder.tick(1, tick))
    wall, used = time.monotonic() - begun, time.process_time() - cpu
    store.close()
    line.answer(
        cpu_percent=100 * used / wall / len(group.tasks),
        at_work=sum(group.poll_gaps) / wall,
        behind=wall - seconds,
    )


if __name__ == "__main__":
    main()
