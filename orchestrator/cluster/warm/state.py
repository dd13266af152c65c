"""What the keeper of a warm machine answers, and the questions that it takes: one JSON document each way."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from orchestrator.cluster.warm.facts import Facts, difference
from orchestrator.plan.topology import TaskPlan
from workers.session import LONGEST_OWN, own_folder, zygote_address

MAX_ANSWER = 1 << 16


@dataclass(frozen=True)
class State:
    """A warm machine, as its keeper describes it."""

    session: str
    """Name of its zygote, of its folder and of the mark of its processes."""
    address: str
    """Where its Ray is joined."""
    mark: str
    """For the processes of the command that asked."""
    pid: int
    seconds_left: float
    commands: int
    """Commands that use it at the moment, besides the one that asked."""
    problem: str | None
    """What of it has failed, as a clause; it is used no more."""
    ending: bool
    """Whether it ends when the last command has."""
    facts: Facts

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"facts": self.facts.to_json()}

    @classmethod
    def read(cls, answer: bytes) -> State:
        """The state in an answer; raises ValueError or TypeError if it is none."""
        fields = json.loads(answer)
        return cls(**fields | {"facts": Facts(**fields["facts"])})


def unusable(state: State, here: Facts, plans: Sequence[TaskPlan]) -> str | None:
    """Why a command with the facts `here` should start tasks of `plans` on a Ray of its own, as a clause; or None."""
    if state.problem is not None:
        return state.problem
    if state.ending:
        return "it ends with the command that uses it"
    if (differs := difference(state.facts, here)) is not None:
        return differs
    if state.commands and any(plan.gpus or plan.memory_gib for plan in plans):
        return "another command uses it, and may hold the GPUs or the memory that this one reserves"
    return None


def keeper_address() -> str:
    """The abstract socket of this user's keeper: one for each temporary folder, and for processes that see each other.

    Like a zygote's, it vanishes with the process that is bound to it, however that ends.

    Raises:
        OSError: there is no folder that only this user can read.
    """
    folder = sha256(bytes(own_folder(LONGEST_OWN))).hexdigest()[:12]
    return zygote_address(f"keeper-{folder}")


def send(connection: socket.socket, document: Mapping[str, Any]) -> None:
    connection.send(json.dumps(document).encode())
