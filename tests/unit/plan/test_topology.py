"""Tasks, TF_CONFIG and the plan: pure functions of a spec."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.plan import topology
from orchestrator.plan.document import plan_document
from orchestrator.plan.topology import EVALUATOR, TaskPlan
from orchestrator.spec.run import RunSpec
from workers.messages import Task
from workers.modes.registry import traits

pytestmark = pytest.mark.unit

MODES = st.sampled_from(["sync", "async"])
WORKERS = st.integers(1, 130)
SERVERS = st.integers(1, 30)


def spec(**fields: object) -> RunSpec:
    return RunSpec.make({"job": "digits", **fields})


def planned(mode: str, workers: int, ps: int, gpus: int = 0) -> tuple[TaskPlan, ...]:
    return topology.all_plans(spec(mode=mode, workers=workers, ps=ps, cpus_per_task=1.5, gpus_per_worker=gpus))


@given(MODES, WORKERS, SERVERS)
@settings(deadline=None)
def test_every_task_sees_one_cluster_without_the_evaluator(mode: str, workers: int, ps: int) -> None:
    plans = planned(mode, workers, ps)
    addresses = {plan.task: f"host-{plan.task.type}:{1000 + plan.task.index}" for plan in plans}
    del addresses[EVALUATOR]
    configs = {plan.task: topology.tf_config(plans, addresses, plan.task) for plan in plans}
    clusters = {json.dumps(config["cluster"]) for config in configs.values()}
    assert len(clusters) == 1
    cluster = json.loads(clusters.pop())
    # Sorted by number, not by name: worker:10 comes after worker:9.
    assert cluster["worker"] == [f"host-worker:{1000 + index}" for index in range(workers)]
    assert set(cluster) == ({"chief", "ps", "worker"} if mode == "async" else {"worker"})
    assert len(cluster.get("ps", [])) == (ps if mode == "async" else 0)
    for task, config in configs.items():
        assert config["task"] == {"type": task.type, "index": task.index}


@given(MODES, WORKERS, SERVERS, st.integers(0, 8))
@settings(deadline=None)
def test_leader_trainers_and_gpus(mode: str, workers: int, ps: int, gpus: int) -> None:
    plans = planned(mode, workers, ps, gpus)
    tasks = [plan.task for plan in plans]
    assert len(set(tasks)) == len(tasks)
    assert tasks[-1] == EVALUATOR
    trainers = traits(mode).trainers(workers)
    assert traits(mode).leader == trainers[0]
    assert set(trainers) <= set(tasks)
    assert len(trainers) == (1 if mode == "async" else workers)
    assert {plan.task.type for plan in plans if plan.gpus} == ({"worker"} if gpus else set())
    assert sum(plan.gpus for plan in plans) == gpus * workers
    assert topology.count_by_type(plans)["worker"] == workers


@pytest.mark.parametrize(
    ("mode", "workers", "gpus", "batches"),
    [
        ("single", 4, 0, 1),
        ("sync", 1, 0, 1),
        ("sync", 3, 0, 3),
        ("sync", 3, 1, 3),
        ("sync", 2, 4, 8),
        ("async", 3, 0, 1),
    ],
)
def test_batches_per_step(mode: str, workers: int, gpus: int, batches: int) -> None:
    assert spec(mode=mode, workers=workers, gpus_per_worker=gpus).batches_per_step == batches


def test_the_plan_of_a_mode_that_changes_on_the_way() -> None:
    document = plan_document(spec(mode="switch:0.25", workers=2, ps=1, batch_size=32, samples=10_000))
    assert [f"{task['type']}:{task['index']}" for task in document["tasks"]][:3] == ["chief:0", "ps:0", "worker:0"]
    assert document["requires"]["cpu"] == 5
    assert document["budget"]["steps"] == 40 + 233
    first, second = document["stages"]
    assert (first["mode"], first["until"], first["steps"], first["samples_per_step"]) == ("sync", 0.25, 40, 64)
    assert (second["mode"], second["until"], second["steps"], second["samples_per_step"]) == ("async", 1.0, 233, 32)
    assert set(first["tf_config"]) == {"worker:0", "worker:1"}
    assert set(first["tf_config"]["worker:0"]["cluster"]) == {"worker"}
    assert set(second["tf_config"]["worker:0"]["cluster"]) == {"chief", "ps", "worker"}
    assert "stages" not in plan_document(spec(mode="switch:1"))


def test_the_evaluator_alone_has_an_empty_cluster() -> None:
    plans = [topology.evaluator_plan(spec())]
    assert topology.tf_config(plans, {}, EVALUATOR)["cluster"] == {}


@given(MODES, WORKERS, SERVERS, st.integers(0, 3), st.integers(1, 512), st.integers(1, 2**53 - 1))
@settings(deadline=None)
def test_the_plan_document(mode: str, workers: int, ps: int, gpus: int, batch_size: int, samples: int) -> None:
    asked = spec(
        mode=mode,
        workers=workers,
        ps=ps,
        gpus_per_worker=gpus,
        cpus_per_task=0.5,
        batch_size=batch_size,
        samples=samples,
    )
    document = json.loads(json.dumps(plan_document(asked), allow_nan=False))
    tasks = document["tasks"]
    assert document["requires"] == {"cpu": 0.5 * len(tasks), "gpu": gpus * workers}
    assert all({"type", "index", "resources", "tf_config"} <= set(task) for task in tasks)
    assert all(set(task["resources"]) == {"cpu", "gpu"} for task in tasks)
    budget = document["budget"]
    steps, per_step = budget["steps"], budget["samples_per_step"]
    assert (steps - 1) * per_step < samples <= steps * per_step


def test_a_budget_in_epochs_has_no_steps_yet() -> None:
    budget = plan_document(RunSpec.make({"job": "digits", "epochs": 2.5}))["budget"]
    assert (budget["samples"], budget["epochs"], budget["steps"]) == (None, 2.5, None)
    assert plan_document(RunSpec.make({"job": "digits"}))["budget"]["epochs"] == 1.0


def test_placeholders_name_their_task() -> None:
    document = plan_document(RunSpec.make({"job": "digits", "mode": "async", "workers": 2}))
    cluster = document["tasks"][0]["tf_config"]["cluster"]
    assert cluster == {"chief": ["<chief:0>"], "ps": ["<ps:0>"], "worker": ["<worker:0>", "<worker:1>"]}
    assert math.prod(len(hosts) for hosts in cluster.values()) == 2


def test_task_names() -> None:
    assert str(Task("worker", 1)) == "worker:1"
    assert max(Task("worker", 10), Task("worker", 9), Task("chief", 0)) == Task("worker", 10)
