"""Agreeing on addresses that all tasks of a group reach each other at.

Ray's address of a node is one that Ray's own processes use. A host with several interfaces may have told Ray one
that its peers cannot reach; TensorFlow would wait for it without end. So every host tries to connect to every
other one first; where that fails, the other addresses of the silent host are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.errors import ClusterError
from orchestrator.plan.topology import Addresses
from workers.messages import Task

Ask = Callable[..., Any]
"""`(task, method, *arguments)`: calls a method of `workers.supervisor.replica.Replica`."""


def agree(addresses: Addresses, ask: Ask, answer: Callable[[Any], Any]) -> dict[Task, str]:
    """`addresses`, with those of hosts that some other host cannot reach replaced by ones that all reach.

    Raises:
        ClusterError: a host has no address that all others reach; names both.
    """
    first: dict[str, Task] = {}
    for task, address in addresses.items():
        first.setdefault(host(address), task)
    if len(first) < 2:
        return dict(addresses)

    def cannot(candidates: Mapping[str, tuple[str, ...]]) -> dict[str, set[str]]:
        """Address to the hosts that do not reach it; `candidates` are the addresses of each host."""
        asked = {
            here: ask(task, "unreachable", tuple(a for there, own in candidates.items() if there != here for a in own))
            for here, task in first.items()
        }
        failed: dict[str, set[str]] = {}
        for here, question in asked.items():
            for address in answer(question):
                failed.setdefault(address, set()).add(here)
        return failed

    silent = cannot({there: (addresses[task],) for there, task in first.items()})
    if not silent:
        return dict(addresses)
    others = {host(address): answer(ask(first[host(address)], "other_addresses")) for address in silent}
    still = cannot(others)
    moved: dict[str, str] = {}
    for address, by in silent.items():
        there = host(address)
        good = next((other for other in others[there] if other not in still), None)
        if good is None:
            tried = ", ".join(host(a) for a in (address, *others[there]))
            raise ClusterError(
                f"{first[there]} cannot be reached from {', '.join(sorted(by))} at any address of its host ({tried}). "
                "Open the ports from 15000 to 32767 between the hosts, or name the network that joins them with "
                "--interface (a name, or a range such as 10.0.0.0/8)."
            )
        moved[there] = host(good)
    return {task: _on(moved.get(host(a)), a) for task, a in addresses.items()}


def host(address: str) -> str:
    """The part of `host:port` before the port; an IPv6 address keeps its brackets."""
    return address.rpartition(":")[0]


def _on(moved: str | None, address: str) -> str:
    return address if moved is None else f"{moved}:{address.rpartition(':')[2]}"
