"""The bundles that a group keeps when hosts are lost, and uses when hosts return."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import HostLostError
from orchestrator.plan.placement import Bundle, Host, Room, Strategy, place_now
from orchestrator.plan.topology import TaskPlan, training_plans
from orchestrator.runs.group_bundles import GroupBundles
from orchestrator.spec.run import RunSpec


class Cluster:
    """Hosts by number, each with room for a number of tasks with one CPU."""

    def __init__(self, *rooms: int) -> None:
        self.room = dict(enumerate(rooms))
        self.lost: set[int] = set()
        """Hosts that cannot be reached; bundles on them stay reserved."""

    def host(self, number: int) -> Host:
        return Host(str(number), f"host{number}", f"10.0.0.{number}", Room(8), Room(self.room[number]), {})

    def find(self, plan: TaskPlan, strategy: Strategy, avoid: Collection[str]) -> Bundle | None:
        hosts = [self.host(number) for number in self.room if number not in self.lost and str(number) not in avoid]
        host = place_now(plan, hosts, strategy)
        if host is None:
            return None
        self.room[int(host.id)] -= 1
        return Bundle("found", 0, host)

    def lives(self, host: Host) -> bool:
        return int(host.id) not in self.lost

    def answers(self, bundle: Bundle) -> bool:
        return int(bundle.host.id) not in self.lost

    def hosts(self) -> tuple[Host, ...]:
        return tuple(map(self.host, self.room))

    def reserve(self, groups: object, strategy: object, deadline: float) -> tuple[Bundle, ...]:
        raise AssertionError("a group does not reserve bundles itself")

    def release(self) -> None: ...

    def lose(self, *numbers: int) -> list[Host]:
        self.lost |= set(numbers)
        return [self.host(number) for number in numbers]


def bundles_on(cluster: Cluster, on: list[int], **fields: Any) -> GroupBundles:
    spec = RunSpec(job="digits", **{"workers": 3, "min_workers": 1} | fields)
    return GroupBundles(
        spec, [Bundle("first", index, cluster.host(number)) for index, number in enumerate(on)], cluster
    )


def hosts(group: GroupBundles) -> list[str]:
    assert len(group.bundles) == len(group.plans)
    return [bundle.host.name for bundle in group.bundles]


def test_without_min_workers_a_lost_host_ends_the_run() -> None:
    cluster = Cluster(9, 9, 9)
    group = bundles_on(cluster, [0, 1, 2], min_workers=None)
    group.lose([])
    with pytest.raises(HostLostError, match=r"host1.*regatta resume.*--min-workers"):
        group.lose(cluster.lose(1))


def test_workers_on_lost_hosts_are_left_out_until_the_hosts_return() -> None:
    cluster = Cluster(0, 0, 0)
    group = bundles_on(cluster, [0, 1, 2])
    group.lose(cluster.lose(1))
    assert hosts(group) == ["host0", "host2"]
    assert [str(plan.task) for plan in group.plans] == ["worker:0", "worker:1"]
    group.grow()
    assert group.workers == 2
    cluster.lost.clear()
    group.grow()
    assert hosts(group) == ["host0", "host2", "host1"]
    group.grow()
    assert group.workers == 3


def test_free_resources_on_other_hosts_are_used_immediately() -> None:
    cluster = Cluster(1, 0, 0)
    group = bundles_on(cluster, [0, 1, 2])
    group.lose(cluster.lose(1, 2))
    assert hosts(group) == ["host0", "host0"]
    alone = bundles_on(cluster := Cluster(5, 0, 0), [0, 1, 2], placement="one-per-host")
    alone.lose(cluster.lose(1, 2))
    assert hosts(alone) == ["host0"]


def test_a_new_host_can_replace_a_lost_one() -> None:
    cluster = Cluster(0, 0)
    group = bundles_on(cluster, [0, 1], workers=2, placement="one-per-host")
    group.lose(cluster.lose(1))
    cluster.room[7] = 4
    group.grow()
    assert hosts(group) == ["host0", "host7"]


def test_too_few_workers_are_refused() -> None:
    cluster = Cluster(0, 0, 0)
    with pytest.raises(HostLostError, match=r"room for 1 worker, and --min-workers requires 2"):
        bundles_on(cluster, [0, 1, 2], min_workers=2).lose(cluster.lose(1, 2))


def test_chief_and_ps_move_or_the_run_ends() -> None:
    fields: dict[str, Any] = {"mode": "async", "workers": 2, "ps": 1}
    cluster = Cluster(0, 0, 1)
    group = bundles_on(cluster, [0, 1, 0, 1], **fields)
    group.lose(cluster.lose(1))
    assert hosts(group) == ["host0", "host2", "host0"]
    cluster = Cluster(0, 0)
    with pytest.raises(HostLostError, match="ps:0"):
        bundles_on(cluster, [0, 1, 0, 1], **fields).lose(cluster.lose(1))


@given(st.data())
def test_hosts_come_and_go(data: st.DataObject) -> None:
    """There are never more workers than in the spec, none on a lost host, and no bundle is used twice."""
    cluster = Cluster(*data.draw(st.lists(st.integers(0, 2), min_size=3, max_size=3)))
    group = bundles_on(cluster, [0, 1, 2], min_workers=1)
    for _ in range(data.draw(st.integers(1, 8))):
        if data.draw(st.booleans()):
            gone = data.draw(st.sets(st.sampled_from(sorted(cluster.room)), max_size=2))
            try:
                group.lose(cluster.lose(*gone))
            except HostLostError:
                assert group.workers == 0
                return
        else:
            cluster.lost -= data.draw(st.sets(st.sampled_from(sorted(cluster.room))))
            group.grow()
        assert 1 <= group.workers <= 3
        assert not {int(bundle.host.id) for bundle in group.bundles} & cluster.lost
        assert len({id(bundle) for bundle in group.bundles}) == len(group.bundles) == len(group.plans)


def test_plans_of_another_number_of_workers() -> None:
    spec = RunSpec(job="digits", mode="async", workers=3, ps=2)
    assert [str(plan.task) for plan in training_plans(spec, 1)] == ["chief:0", "ps:0", "ps:1", "worker:0"]


def test_a_host_whose_bundles_another_stage_will_use_is_missed() -> None:
    cluster = Cluster(1, 1, 1, 1, 1, 2)
    bundles = bundles_on(cluster, [0, 1, 2, 3, 4], mode="switch:0.5")
    workers = [plan.task for plan in bundles.plans if plan.task.type == "worker"]
    assert bundles.lost(workers) == ()
    cluster.lose(1)
    assert [host.id for host in bundles.lost(workers)] == ["1"]
    assert bundles.lost([plan.task for plan in bundles.plans]) == ()
    bundles.lose(bundles.lost(workers))
    assert [bundle.host.id for bundle in bundles.bundles] == ["0", "5", "2", "3", "4"]
