"""The assignment of tasks to hosts, and the reasons why a task does not fit."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ResourcesError
from orchestrator.plan.placement import Host, Room, Strategy, matches, place, shortage
from orchestrator.plan.topology import TaskPlan, all_plans, training_plans
from orchestrator.spec.run import RunSpec
from workers.messages import Task

pytestmark = pytest.mark.unit


def host(name: str, cpu: float = 4, gpu: float = 0, free: float | None = None, **labels: str) -> Host:
    return Host(name, name, f"{name}.local", Room(cpu, gpu), Room(cpu if free is None else free, gpu), labels)


def workers(count: int, cpus: float = 1, gpus: float = 0, **labels: str) -> tuple[TaskPlan, ...]:
    return tuple(TaskPlan(Task("worker", index), cpus, gpus, labels=labels) for index in range(count))


def names(groups: list[tuple[Host, ...]]) -> list[list[str]]:
    return [[host.name for host in chosen] for chosen in groups]


THREE = (host("a"), host("b"), host("c"))


def test_pack_fills_one_host_before_the_next() -> None:
    assert names(place([workers(6)], THREE, "pack")) == [["a"] * 4 + ["b"] * 2]


def test_pack_starts_where_most_is_free() -> None:
    assert names(place([workers(3)], (host("a", free=2), host("b")), "pack")) == [["b"] * 3]


def test_spread_balances_tasks_of_one_type() -> None:
    plans = training_plans(RunSpec(job="digits", mode="async", workers=3, ps=1))
    (chosen,) = place([plans], THREE, "spread")
    assert {h.name for plan, h in zip(plans, chosen, strict=True) if plan.task.type == "worker"} == {"a", "b", "c"}
    assert max(Counter(h.name for h in chosen).values()) == 2


def test_one_per_host_counts_within_a_group() -> None:
    first, second = place([workers(3), workers(3)], THREE, "one-per-host")
    assert {h.name for h in first} == {h.name for h in second} == {"a", "b", "c"}
    with pytest.raises(ResourcesError, match=r"worker:3.*a \(a\.local\), b \(b\.local\), c.*has a worker already"):
        place([workers(4)], THREE, "one-per-host")


@pytest.mark.parametrize("strategy", ["pack", "spread", "one-per-host"])
def test_hosts_with_gpus_are_kept_for_tasks_that_need_them(strategy: Strategy) -> None:
    hosts = (host("gpu", gpu=2), host("plain"))
    plans = (TaskPlan(Task("ps", 0), 1, 0), *workers(1, gpus=2))
    assert names(place([plans], hosts, strategy))[0][1] == "gpu"
    assert names(place([plans[:1]], hosts, strategy)) == [["plain"]]


def test_labels_restrict_hosts_and_are_named_in_errors() -> None:
    hosts = (host("a", accelerator="t4"), host("b", accelerator="a100"), host("c"))
    assert names(place([workers(2, accelerator="a100")], hosts, "spread")) == [["b", "b"]]
    with pytest.raises(ResourcesError) as caught:
        place([workers(5, accelerator="a100")], hosts, "spread")
    for words in (
        "No host fits worker:4, which needs 1 CPUs, label accelerator=a100",
        "a (a.local): label accelerator is t4",
        "0 of 4 CPUs left after worker:0, worker:1, worker:2, worker:3",
        "c (c.local): has no label accelerator",
    ):
        assert words in caught.value.message


@pytest.mark.parametrize(
    ("wanted", "value", "fits"),
    [
        ("a", "a", True), ("a", "b", False), ("a", None, False), ("!a", "b", True), ("!a", None, True),
        ("in(a, b)", "b", True), ("in(a,b)", "c", False), ("!in(a,b)", "c", True), ("!in(a,b)", "a", False),
    ],
)  # fmt: skip
def test_label_selectors(wanted: str, value: str | None, fits: bool) -> None:
    assert matches(wanted, value) == fits


def test_tasks_wait_for_resources_that_others_use() -> None:
    hosts = (host("a", free=1), host("b", free=1))
    plans = workers(4)
    (chosen,) = place([plans], hosts, "pack")
    assert shortage(plans, chosen) == ["3 CPUs on a (a.local)"]
    assert shortage(plans[:1], chosen[:1]) == []


def test_a_cluster_with_too_few_gpus_is_refused_with_totals() -> None:
    with pytest.raises(ResourcesError, match=r"8 worker need 16 GPUs, and the cluster has 0\. .*--gpus-per-worker"):
        place([workers(8, gpus=2)], THREE, "pack")


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2)), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(1, 8), st.integers(0, 4)), min_size=1, max_size=5),
    st.sampled_from(["pack", "spread", "one-per-host"]),
)
def test_no_host_is_given_more_than_it_has(
    asked: list[tuple[int, int]], rooms: list[tuple[int, int]], strategy: Strategy
) -> None:
    plans = tuple(TaskPlan(Task("worker", i), cpus, gpus) for i, (cpus, gpus) in enumerate(asked))
    hosts = [host(f"h{i}", cpu, gpu) for i, (cpu, gpu) in enumerate(rooms)]
    try:
        (chosen,) = place([plans], hosts, strategy)
    except ResourcesError:
        return
    for each in hosts:
        own = [plan for plan, assigned in zip(plans, chosen, strict=True) if assigned is each]
        assert sum(plan.cpus for plan in own) <= each.total.cpu
        assert sum(plan.gpus for plan in own) <= each.total.gpu
        assert strategy != "one-per-host" or len(own) <= 1


def test_resources_of_one_type() -> None:
    spec = RunSpec.make(
        {
            "job": "digits",
            "mode": "async",
            "resources": {"ps": {"cpu": 2, "memory_gib": 4}, "evaluator": {"gpu": 1}},
            "worker_labels": {"zone": "in(x,y)"},
        }
    )
    plans = {plan.task.type: plan for plan in all_plans(spec)}
    ps, evaluator, worker = (plans[name] for name in ("ps", "evaluator", "worker"))
    assert (ps.cpus, ps.gpus, ps.memory_gib, ps.labels) == (2, 0, 4, {})
    assert evaluator.gpus == 1
    assert (worker.cpus, worker.labels) == (1, {"zone": "in(x,y)"})
