"""Which host gets which task: a pure function of the tasks, the hosts and the strategy.

    pack           as few hosts as possible: fewest bytes over the network
    spread         tasks of one kind on as many hosts as there are
    one-per-host   as spread, and no host gets two workers of one group

Ray could choose as well, but would not say beforehand; the places found here are asked for by host.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.errors import ResourcesError
from orchestrator.plan.topology import TaskPlan, count_by_type

Strategy = Literal["pack", "spread", "one-per-host"]
GIB = 1 << 30
_SMALL = 1e-9
_ALTERNATIVES = re.compile(r"in\((.*)\)")


@dataclass(frozen=True)
class Room:
    """What a host has, or has left."""

    cpu: float
    gpu: float = 0.0
    memory_gib: float = float("inf")

    def less(self, plan: TaskPlan) -> Room:
        return Room(self.cpu - plan.cpus, self.gpu - plan.gpus, self.memory_gib - plan.memory_gib)

    def holds(self, plan: TaskPlan) -> bool:
        left = self.less(plan)
        return min(left.cpu, left.gpu, left.memory_gib) >= -_SMALL


@dataclass(frozen=True)
class Host:
    """A node of the cluster. Its name is for people, its id tells it from others."""

    id: str
    name: str
    address: str
    total: Room
    free: Room
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return self.name if self.name == self.address else f"{self.name} ({self.address})"


@dataclass(frozen=True)
class Bundle:
    """Resources held for one task on its host: bundle `index` of Ray's placement group `group`, if Ray holds them."""

    group: Any
    index: int
    host: Host


Group = Sequence[TaskPlan]
"""Tasks of one worker group; strategies count within a group."""


def place_now(plan: TaskPlan, hosts: Sequence[Host], strategy: Strategy) -> Host | None:
    """A host that has room for one task now."""
    try:
        ((host,),) = _Board(hosts, {host.id: host.free for host in hosts}, strategy).place([[plan]])
    except ResourcesError:
        return None
    return host


def place(groups: Sequence[Group], hosts: Sequence[Host], strategy: Strategy) -> list[tuple[Host, ...]]:
    """A host for every task of every group, where possible on what is free now, else on what will be.

    Raises:
        ResourcesError: even with all hosts empty some task fits nowhere; says what each host lacks.
    """
    refuse_impossible([plan for group in groups for plan in group], hosts)
    try:
        return _Board(hosts, {host.id: host.free for host in hosts}, strategy).place(groups)
    except ResourcesError:
        return _Board(hosts, {host.id: host.total for host in hosts}, strategy).place(groups)


def shortage(plans: Sequence[TaskPlan], hosts: Sequence[Host]) -> list[str]:
    """What has to become free on the hosts of `plans` first, in words; nothing where all can start at once."""
    missing = []
    for host in dict.fromkeys(hosts):
        own = [plan for plan, there in zip(plans, hosts, strict=True) if there == host]
        asked = Room(sum(p.cpus for p in own), sum(p.gpus for p in own), sum(p.memory_gib for p in own))
        for unit, needs, free in (
            ("CPUs", asked.cpu, host.free.cpu),
            ("GPUs", asked.gpu, host.free.gpu),
            ("GiB of memory", asked.memory_gib, host.free.memory_gib),
        ):
            if needs > free + _SMALL:
                missing.append(f"{needs - free:g} {unit} on {host}")
    return missing


def refuse_impossible(plans: Sequence[TaskPlan], hosts: Sequence[Host]) -> None:
    """Sums first: they say more plainly by how much a cluster is too small."""
    for name, word, flag in (("gpu", "GPUs", "--gpus-per-worker"), ("cpu", "CPUs", "--cpus-per-task")):
        asked = sum(getattr(plan, f"{name}s") for plan in plans)
        has = sum(getattr(host.total, name) for host in hosts)
        if asked > has + _SMALL:
            raise ResourcesError(
                f"{listed(plans)} need {asked:g} {word} and the cluster has {has:g}. "
                f"Lower --workers or {flag}, or use a larger cluster (--address)."
            )


def listed(plans: Sequence[TaskPlan]) -> str:
    return ", ".join(f"{count} {name}" for name, count in count_by_type(plans).items())


def matches(wanted: str, value: str | None) -> bool:
    """Ray's label selectors: `v`, `!v`, `in(v,w)`, `!in(v,w)`."""
    if wanted.startswith("!"):
        return not matches(wanted[1:], value)
    among = _ALTERNATIVES.fullmatch(wanted)
    return value in ([part.strip() for part in among[1].split(",")] if among else [wanted])


class _Board:
    """Hosts filling up."""

    def __init__(self, hosts: Sequence[Host], rooms: Mapping[str, Room], strategy: Strategy) -> None:
        self._hosts = hosts
        self._rooms = dict(rooms)
        self._strategy = strategy
        self._taken: defaultdict[str, list[TaskPlan]] = defaultdict(list)

    def place(self, groups: Sequence[Group]) -> list[tuple[Host, ...]]:
        return [self._place_group(group) for group in groups]

    def _place_group(self, group: Group) -> tuple[Host, ...]:
        chosen: dict[TaskPlan, Host] = {}
        types: Counter[tuple[str, str]] = Counter()
        # The hardest to please first, or others would take the only places that suit them.
        for plan in sorted(group, key=lambda p: (-p.gpus, -len(p.labels), -p.memory_gib, -p.cpus)):
            fitting = [host for host in self._hosts if not self._why_not(plan, host, types)]
            if not fitting:
                raise self._misfit(plan, types)
            host = min(fitting, key=lambda h: self._reluctance(plan, h, types))
            chosen[plan] = host
            types[host.id, plan.task.type] += 1
            self._rooms[host.id] = self._rooms[host.id].less(plan)
            self._taken[host.id].append(plan)
        return tuple(chosen[plan] for plan in group)

    def _reluctance(self, plan: TaskPlan, host: Host, types: Counter[tuple[str, str]]) -> tuple[float, ...]:
        """The host with the least gets the task; the first of equals."""
        room, taken = self._rooms[host.id], len(self._taken[host.id])
        wastes_gpus = float(plan.gpus == 0 and host.total.gpu > 0)
        if self._strategy == "pack":
            return (float(not taken), wastes_gpus, room.cpu if taken else -room.cpu)
        return (types[host.id, plan.task.type], taken, wastes_gpus, -room.cpu)

    def _why_not(self, plan: TaskPlan, host: Host, types: Counter[tuple[str, str]]) -> str:
        """What keeps `plan` off `host`; empty when nothing does."""
        for key, wanted in plan.labels.items():
            value = host.labels.get(key)
            if not matches(wanted, value):
                return f"has no label {key}" if value is None else f"label {key} is {value}"
        if self._strategy == "one-per-host" and plan.task.type == "worker" and types[host.id, "worker"]:
            return "has a worker already (--placement one-per-host)"
        room = self._rooms[host.id]
        if room.holds(plan):
            return ""
        for left, asked, total, unit in (
            (room.gpu, plan.gpus, host.total.gpu, "GPUs"),
            (room.cpu, plan.cpus, host.total.cpu, "CPUs"),
            (room.memory_gib, plan.memory_gib, host.total.memory_gib, "GiB of memory"),
        ):
            if asked > left + _SMALL:
                after = ", ".join(str(other.task) for other in self._taken[host.id])
                return f"{left:g} of {total:g} {unit} left" + (f" after {after}" if after else "")
        raise AssertionError(f"{plan} fits {host}")

    def _misfit(self, plan: TaskPlan, types: Counter[tuple[str, str]]) -> ResourcesError:
        names: defaultdict[str, list[str]] = defaultdict(list)
        for host in self._hosts:
            names[self._why_not(plan, host, types)].append(str(host))
        reasons = "; ".join(f"{_some(hosts)}: {why}" for why, hosts in names.items())
        return ResourcesError(
            f"No host fits {plan.task}, which asks for {asked_by(plan)}. {reasons}. Ask for less (--workers, "
            "--cpus-per-task, --gpus-per-worker, --resources), change --placement or --worker-label, or add a host."
        )


def asked_by(plan: TaskPlan) -> str:
    """What a task asks of its host, in words."""
    parts = [f"{plan.cpus:g} CPUs"]
    parts += [f"{plan.gpus:g} GPUs"] if plan.gpus else []
    parts += [f"{plan.memory_gib:g} GiB of memory"] if plan.memory_gib else []
    parts += [f"label {key}={value}" for key, value in plan.labels.items()]
    return ", ".join(parts)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more"
