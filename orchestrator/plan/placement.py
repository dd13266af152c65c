"""Assigns tasks to hosts: a pure function of the tasks, the hosts and the strategy.

    pack           as few hosts as possible, for the least network traffic
    spread         tasks of one type on as many hosts as possible
    one-per-host   like spread, and no host gets two workers of one group

Ray could assign hosts too, but `regatta plan` has to know them beforehand; bundles are then requested by host.
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
    """Resources of a host: all of them, or those that are free."""

    cpu: float
    gpu: float = 0.0
    memory_gib: float = float("inf")

    @classmethod
    def of_ray(cls, resources: Mapping[str, float]) -> Room:
        """From amounts by the names that Ray gives them; memory in bytes."""
        cpu, gpu, memory = (float(resources.get(name, 0)) for name in ("CPU", "GPU", "memory"))
        return cls(cpu, gpu, memory / GIB)

    def less(self, plan: TaskPlan) -> Room:
        return Room(self.cpu - plan.cpus, self.gpu - plan.gpus, self.memory_gib - plan.memory_gib)

    def holds(self, plan: TaskPlan) -> bool:
        left = self.less(plan)
        return min(left.cpu, left.gpu, left.memory_gib) >= -_SMALL


@dataclass(frozen=True)
class Host:
    """A node of the cluster. `id` is unique; `name` is for people."""

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
    """Resources reserved for one task on a host; on Ray, bundle `index` of placement group `group`."""

    group: Any
    index: int
    host: Host


Group = Sequence[TaskPlan]
"""Tasks of one worker group; a placement strategy applies to each group separately."""


def place_now(plan: TaskPlan, hosts: Sequence[Host], strategy: Strategy) -> Host | None:
    """A host that has room for one task now; None if there is none."""
    try:
        ((host,),) = _Board(hosts, {host.id: host.free for host in hosts}, strategy).place([[plan]])
    except ResourcesError:
        return None
    return host


def place(groups: Sequence[Group], hosts: Sequence[Host], strategy: Strategy) -> list[tuple[Host, ...]]:
    """A host for every task of every group: within free resources if possible, else within total resources.

    Raises:
        ResourcesError: a task would not fit even if all hosts were empty; says what each host lacks.
    """
    refuse_impossible([plan for group in groups for plan in group], hosts)
    try:
        return _Board(hosts, {host.id: host.free for host in hosts}, strategy).place(groups)
    except ResourcesError:
        return _Board(hosts, {host.id: host.total for host in hosts}, strategy).place(groups)


def shortage(plans: Sequence[TaskPlan], hosts: Sequence[Host]) -> list[str]:
    """What must become free before the tasks can start on `hosts`, in words; empty if they can start now."""
    missing = []
    for host in dict.fromkeys(hosts):
        own = [plan for plan, assigned in zip(plans, hosts, strict=True) if assigned == host]
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
    """Raises ResourcesError if the tasks need more CPUs or GPUs than all hosts together have.

    Checked before placing, because the totals tell more clearly by how much a cluster is too small.
    """
    for name, word, flag in (("gpu", "GPUs", "--gpus-per-worker"), ("cpu", "CPUs", "--cpus-per-task")):
        asked = sum(getattr(plan, f"{name}s") for plan in plans)
        has = sum(getattr(host.total, name) for host in hosts)
        if asked > has + _SMALL:
            raise ResourcesError(
                f"{listed(plans)} need {asked:g} {word}, and the cluster has {has:g}. "
                f"Lower --workers or {flag}, or use a larger cluster (--address)."
            )


def listed(plans: Sequence[TaskPlan]) -> str:
    """Tasks by type, such as `2 worker, 1 evaluator`."""
    return ", ".join(f"{count} {name}" for name, count in count_by_type(plans).items())


def matches(wanted: str, value: str | None) -> bool:
    """Whether a label with `value` matches one of Ray's label selectors: `v`, `!v`, `in(v,w)` or `!in(v,w)`."""
    if wanted.startswith("!"):
        return not matches(wanted[1:], value)
    among = _ALTERNATIVES.fullmatch(wanted)
    return value in ([part.strip() for part in among[1].split(",")] if among else [wanted])


class _Board:
    """Hosts and the resources left on them while tasks are placed."""

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
        # The most demanding tasks first; otherwise others would take the only hosts that fit them.
        for plan in sorted(group, key=lambda p: (-p.gpus, -len(p.labels), -p.memory_gib, -p.cpus)):
            fitting = [host for host in self._hosts if not self._why_not(plan, host, types)]
            if not fitting:
                raise self._misfit(plan, types)
            host = min(fitting, key=lambda h: self._penalty(plan, h, types))
            chosen[plan] = host
            types[host.id, plan.task.type] += 1
            self._rooms[host.id] = self._rooms[host.id].less(plan)
            self._taken[host.id].append(plan)
        return tuple(chosen[plan] for plan in group)

    def _penalty(self, plan: TaskPlan, host: Host, types: Counter[tuple[str, str]]) -> tuple[float, ...]:
        """Sort key of hosts for a task; the first host with the lowest gets it."""
        room, taken = self._rooms[host.id], len(self._taken[host.id])
        wastes_gpus = float(plan.gpus == 0 and host.total.gpu > 0)
        if self._strategy == "pack":
            return (float(not taken), wastes_gpus, room.cpu if taken else -room.cpu)
        return (types[host.id, plan.task.type], taken, wastes_gpus, -room.cpu)

    def _why_not(self, plan: TaskPlan, host: Host, types: Counter[tuple[str, str]]) -> str:
        """The reason that `plan` does not fit `host`; empty if it fits."""
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
            f"No host fits {plan.task}, which needs {asked_by(plan)}. {reasons}. Request less (--workers, "
            "--cpus-per-task, --gpus-per-worker, --resources), change --placement or --worker-label, or add a host."
        )


def asked_by(plan: TaskPlan) -> str:
    """What a task requires of its host, in words."""
    parts = [f"{plan.cpus:g} CPUs"]
    parts += [f"{plan.gpus:g} GPUs"] if plan.gpus else []
    parts += [f"{plan.memory_gib:g} GiB of memory"] if plan.memory_gib else []
    parts += [f"label {key}={value}" for key, value in plan.labels.items()]
    return ", ".join(parts)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more"
