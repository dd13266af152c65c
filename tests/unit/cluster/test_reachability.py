"""Choosing addresses that every host of a worker group can connect to."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.cluster.reachability import reachable_addresses
from orchestrator.errors import ClusterError
from workers.messages import Task

pytestmark = pytest.mark.unit

A0, A1, B0 = Task("worker", 0), Task("ps", 0), Task("worker", 1)
OTHERS = {A0: ("172.16.0.1:1",), B0: ("fd00::2:3", "172.16.0.2:3")}


def network(*open_addresses: str) -> Any:
    """Stand-in for calls to replicas whose connections succeed to `open_addresses` only; records the methods called."""
    asked: list[str] = []

    def ask(task: Task, method: str, *arguments: Any) -> Any:
        asked.append(method)
        if method == "other_addresses":
            return OTHERS[task]
        return tuple(address for address in arguments[0] if address not in open_addresses)

    ask.asked = asked  # type: ignore[attr-defined]
    return ask


def answer(value: Any) -> Any:
    return value


def test_a_single_host_needs_no_check() -> None:
    ask = network()
    addresses = {A0: "10.0.0.1:1", A1: "10.0.0.1:2"}
    assert reachable_addresses(addresses, ask, answer) == addresses
    assert ask.asked == []


def test_reachable_addresses_are_kept() -> None:
    ask = network("10.0.0.1:1", "10.0.0.2:3")
    addresses = {A0: "10.0.0.1:1", A1: "10.0.0.1:2", B0: "10.0.0.2:3"}
    assert reachable_addresses(addresses, ask, answer) == addresses
    assert ask.asked == ["unreachable"] * 2


def test_an_unreachable_host_moves_with_all_of_its_tasks() -> None:
    ask = network("172.16.0.1:1", "10.0.0.2:3")
    addresses = {A0: "10.0.0.1:1", A1: "10.0.0.1:2", B0: "10.0.0.2:3"}
    assert reachable_addresses(addresses, ask, answer) == {A0: "172.16.0.1:1", A1: "172.16.0.1:2", B0: "10.0.0.2:3"}


def test_a_host_without_a_reachable_address_is_named() -> None:
    with pytest.raises(ClusterError) as caught:
        reachable_addresses({A0: "10.0.0.1:1", B0: "10.0.0.2:3"}, network("10.0.0.1:1"), answer)
    assert "worker:1 cannot be reached from 10.0.0.1" in caught.value.message
    assert "172.16.0.2" in caught.value.message
    assert "--interface" in caught.value.message
