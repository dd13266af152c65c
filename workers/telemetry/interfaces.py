"""This host's network interfaces, and the addresses that its tasks may publish."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence

import psutil

Interfaces = Mapping[str, Sequence[str]]
"""Addresses by interface name, in the system's order."""


class InterfaceError(OSError):
    """This host has no address on the network that the user named."""


def interfaces() -> Interfaces:
    """All interfaces of this host."""
    families = (socket.AF_INET, socket.AF_INET6)
    return {
        name: [entry.address.partition("%")[0] for entry in entries if entry.family in families]
        for name, entries in psutil.net_if_addrs().items()
    }


def address_on(wanted: str, found: Interfaces) -> str:
    """The first address on the interface named `wanted`, or within `wanted` if it is a range (`10.0.0.0/8`).

    Raises:
        InterfaceError: there is no such address; the message lists those there are.
    """
    everything = [address for addresses in found.values() for address in addresses]
    try:
        network = ipaddress.ip_network(wanted, strict=False)
    except ValueError:
        fitting = [address for address in found.get(wanted, ()) if not ipaddress.ip_address(address).is_link_local]
    else:
        fitting = [address for address in everything if ipaddress.ip_address(address) in network]
    if not fitting:
        there = ", ".join(f"{name} ({', '.join(addresses)})" for name, addresses in found.items() if addresses)
        raise InterfaceError(f"interface: {socket.gethostname()} has no address on {wanted!r}. It has {there}.")
    return fitting[0]


def reachable_from_outside(found: Interfaces) -> list[str]:
    """Addresses that another host may be able to reach, IPv4 first."""
    everything = [ipaddress.ip_address(address) for addresses in found.values() for address in addresses]
    usable = [a for a in everything if not (a.is_loopback or a.is_link_local or a.is_multicast)]
    return [str(address) for address in sorted(usable, key=lambda a: a.version)]
