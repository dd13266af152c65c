"""The line between the chief and the workers of a group whose state is in memory, on one host.

It is a unix socket of the chief's, by the chief's address in TF_CONFIG, in the network namespace, as ports are. What
goes over it is pickled: both ends are of one user and one version.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from workers.addresses import split
from workers.messages import Assignment, Position, Task
from workers.modes.registry import traits
from workers.modes.store import Layout
from workers.session import peer_of

_FIRST_WAIT, _LONGEST_WAIT = 0.05, 2.0
"""Seconds between two tries to connect: a chief that keeps the weights on parameter servers listens no longer."""


@dataclass(frozen=True)
class Hello:
    """From a worker, which builds the model, or from a parameter server, which only shows that it lives."""

    task: Task


@dataclass(frozen=True)
class Shared:
    """From the chief, with the memory's descriptor: the layout of the state in it."""

    layout: Layout


@dataclass(frozen=True)
class Traced:
    """From a worker: it can take steps, which log values of these names."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Refused:
    """From a worker: the model's state cannot be shared like that."""

    why: str


@dataclass(frozen=True)
class Open:
    """From the chief: a leg begins. A worker answers with `Opened` when its data are open."""

    seed: int
    position: Position
    schedule_scale: float


@dataclass(frozen=True)
class Opened:
    """From a worker."""


@dataclass(frozen=True)
class Run:
    """From the chief: take so many steps. A worker answers with an `Outcome`."""

    steps: int


def can_share(assignment: Assignment) -> bool:
    """Whether the tasks of a group are where they could share their state: in one host's memory, on processors.

    It depends on nothing that is one task's own, so that all of them answer alike.
    """
    addresses = [address for group in assignment.tf_config.get("cluster", {}).values() for address in group]
    settings = assignment.settings
    return (
        sys.platform == "linux"
        and traits(settings.mode).shares_memory
        and len({split(address)[0] for address in addresses}) == 1
        and settings.gpus_per_worker == 0
        and settings.devices_per_replica == 1
    )


def listener(assignment: Assignment) -> socket.socket | None:
    """The chief's end; None if its name is taken."""
    made = _new_socket()
    try:
        made.bind(_name(assignment))
    except OSError:
        made.close()
        return None
    made.listen(len(assignment.tf_config["cluster"]["worker"]))
    return made


def connected(assignment: Assignment) -> socket.socket:
    """The end of a worker or a parameter server, as soon as the chief listens."""
    wait = _FIRST_WAIT
    while True:
        made = _new_socket()
        with contextlib.suppress(OSError):
            made.connect(_name(assignment))
            if peer_of(made)[1] == os.getuid():
                return made
        made.close()
        time.sleep(wait)
        wait = min(_LONGEST_WAIT, 1.2 * wait)


def _new_socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(None)  # whatever the job has made of the default
    return made


def line(end: socket.socket) -> Any:
    """Sends and receives objects over `end`, which it takes over."""
    end.settimeout(None)
    return Connection(end.detach())


def _name(assignment: Assignment) -> str:
    return f"\0regatta-{os.getuid()}-{assignment.tf_config['cluster']['chief'][0]}-state"
