"""Replica addresses that every host of a worker group can connect to.

Ray knows each node by one address, the one that Ray's own processes use. A host with several interfaces may have
registered an address that its peers cannot connect to, and TensorFlow would wait for it forever. So before launch
every host tries to connect to every other host; where that fails, the other addresses of the unreachable host are
tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.errors import ClusterError
from orchestrator.plan.topology import Addresses
from workers.addresses import join, split
from workers.messages import Task

Ask = Callable[..., Any]
"""`(task, method, *arguments)`: calls a method of `workers.supervisor.replica.Replica`."""


def reachable_addresses(addresses: Addresses, ask: Ask, answer: Callable[[Any], Any]) -> dict[Task, str]:
    """`addresses`, with each host that some other host cannot connect to moved to an address that all can.

    Raises:
        ClusterError: a host has no address that all others can connect to; names both sides.
    """
    probes: dict[str, Task] = {}  # one task per host, which does the connecting
    for task, address in addresses.items():
        probes.setdefault(host(address), task)
    if len(probes) < 2:
        return dict(addresses)

    def unreachable(candidates: Mapping[str, tuple[str, ...]]) -> dict[str, set[str]]:
        """Map each unreachable address to the hosts that cannot connect to it; `candidates` is by host."""
        asked = {
            here: ask(task, "unreachable", tuple(a for there, own in candidates.items() if there != here for a in own))
            for here, task in probes.items()
        }
        failed: dict[str, set[str]] = {}
        for here, question in asked.items():
            for address in answer(question):
                failed.setdefault(address, set()).add(here)
        return failed

    failed = unreachable({there: (addresses[task],) for there, task in probes.items()})
    if not failed:
        return dict(addresses)
    alternatives = {host(address): answer(ask(probes[host(address)], "other_addresses")) for address in failed}
    failed_alternatives = unreachable(alternatives)
    new_hosts: dict[str, str] = {}
    for address, sources in failed.items():
        old = host(address)
        new = next((other for other in alternatives[old] if other not in failed_alternatives), None)
        if new is None:
            tried = ", ".join(host(a) for a in (address, *alternatives[old]))
            raise ClusterError(
                f"{probes[old]} cannot be reached from {', '.join(sorted(sources))} at any address of its host "
                f"({tried}). Open ports 15000 to 32767 between the hosts, or name the network that connects them "
                "with --interface (an interface name, or a range such as 10.0.0.0/8)."
            )
        new_hosts[old] = host(new)
    return {task: _with_host(address, new_hosts.get(host(address))) for task, address in addresses.items()}


def host(address: str) -> str:
    """The part of `host:port` before the port."""
    return split(address)[0]


def _with_host(address: str, new_host: str | None) -> str:
    return address if new_host is None else join(new_host, split(address)[1])
