"""Which bundles a group has left when hosts are lost, and which it takes when some come back."""

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

pytestmark = pytest.mark.unit


class Land:
    """Hosts by number, each with room for so many tasks of one CPU."""

    def __init__(self, *rooms: int) -> None:
        self.room = dict(enumerate(rooms))
        self.lost: set[int] = set()
        """Out of reach: what was held there still is."""

    def host(self, number: int) -> Host:
        return Host(str(number), f"host{number}", f"10.0.0.{number}", Room(8), Room(self.room[number]), {})

    def find(self, plan: TaskPlan, strategy: Strategy, avoid: Collection[str]) -> Bundle | None:
        hosts = [self.host(number) for number in self.room if number not in self.lost and str(number) not in avoid]
        host = place_now(plan, hosts, strategy)
        if host is None:
            return None
        self.room[int(host.id)] -= 1
        return Bundle("found", 0, host)

    def answers(self, bundle: Bundle) -> bool:
        return int(bundle.host.id) not in self.lost

    def hosts(self) -> tuple[Host, ...]:
        return tuple(map(self.host, self.room))

    def reserve(self, groups: object, strategy: object, deadline: float) -> tuple[Bundle, ...]:
        raise AssertionError("a group reserves nothing itself")

    def release(self) -> None: ...

    def lose(self, *numbers: int) -> list[Host]:
        self.lost |= set(numbers)
        return [self.host(number) for number in numbers]


def holding(land: Land, on: list[int], **fields: Any) -> GroupBundles:
    spec = RunSpec(job="digits", **{"workers": 3, "min_workers": 1} | fields)
    return GroupBundles(spec, [Bundle("first", index, land.host(number)) for index, number in enumerate(on)], land)


def hosts(held: GroupBundles) -> list[str]:
    assert len(held.bundles) == len(held.plans)
    return [bundle.host.name for bundle in held.bundles]


def test_without_min_workers_a_lost_host_ends_the_run() -> None:
    land = Land(9, 9, 9)
    held = holding(land, [0, 1, 2], min_workers=None)
    held.lose([])
    with pytest.raises(HostLostError, match=r"host1.*regatta resume.*--min-workers"):
        held.lose(land.lose(1))


def test_workers_without_a_place_are_left_out_until_their_host_is_back() -> None:
    land = Land(0, 0, 0)
    held = holding(land, [0, 1, 2])
    held.lose(land.lose(1))
    assert hosts(held) == ["host0", "host2"]
    assert [str(plan.task) for plan in held.plans] == ["worker:0", "worker:1"]
    held.grow()
    assert held.workers == 2
    land.lost.clear()
    held.grow()
    assert hosts(held) == ["host0", "host2", "host1"]
    held.grow()
    assert held.workers == 3


def test_what_is_free_elsewhere_is_taken_at_once() -> None:
    land = Land(1, 0, 0)
    held = holding(land, [0, 1, 2])
    held.lose(land.lose(1, 2))
    assert hosts(held) == ["host0", "host0"]
    alone = holding(land := Land(5, 0, 0), [0, 1, 2], placement="one-per-host")
    alone.lose(land.lose(1, 2))
    assert hosts(alone) == ["host0"]


def test_a_host_that_came_anew_is_as_good_as_the_old_one() -> None:
    land = Land(0, 0)
    held = holding(land, [0, 1], workers=2, placement="one-per-host")
    held.lose(land.lose(1))
    land.room[7] = 4
    held.grow()
    assert hosts(held) == ["host0", "host7"]


def test_too_few_are_refused() -> None:
    land = Land(0, 0, 0)
    with pytest.raises(HostLostError, match=r"room for 1 workers, and --min-workers asks for 2"):
        holding(land, [0, 1, 2], min_workers=2).lose(land.lose(1, 2))


def test_chief_and_ps_move_or_the_run_ends() -> None:
    fields: dict[str, Any] = {"mode": "async", "workers": 2, "ps": 1}
    land = Land(0, 0, 1)
    held = holding(land, [0, 1, 0, 1], **fields)
    held.lose(land.lose(1))
    assert hosts(held) == ["host0", "host2", "host0"]
    land = Land(0, 0)
    with pytest.raises(HostLostError, match="ps:0"):
        holding(land, [0, 1, 0, 1], **fields).lose(land.lose(1))


@given(st.data())
def test_hosts_come_and_go(data: st.DataObject) -> None:
    """There are never more workers than asked for, none on a lost host, and none is held twice."""
    land = Land(*data.draw(st.lists(st.integers(0, 2), min_size=3, max_size=3)))
    held = holding(land, [0, 1, 2], min_workers=1)
    for _ in range(data.draw(st.integers(1, 8))):
        if data.draw(st.booleans()):
            gone = data.draw(st.sets(st.sampled_from(sorted(land.room)), max_size=2))
            try:
                held.lose(land.lose(*gone))
            except HostLostError:
                assert held.workers == 0
                return
        else:
            land.lost -= data.draw(st.sets(st.sampled_from(sorted(land.room))))
            held.grow()
        assert 1 <= held.workers <= 3
        assert not {int(bundle.host.id) for bundle in held.bundles} & land.lost
        assert len({id(bundle) for bundle in held.bundles}) == len(held.bundles) == len(held.plans)


def test_plans_of_another_number_of_workers() -> None:
    spec = RunSpec(job="digits", mode="async", workers=3, ps=2)
    assert [str(plan.task) for plan in training_plans(spec, 1)] == ["chief:0", "ps:0", "ps:1", "worker:0"]
