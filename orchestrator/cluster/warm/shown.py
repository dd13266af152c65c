"""What `regatta up` and `regatta doctor` show of a warm machine: how long it stays, what memory it holds."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.cluster.warm.facts import collect
from orchestrator.cluster.warm.found import ask
from orchestrator.cluster.warm.state import State, unusable
from orchestrator.doctor.check import Check, Status
from orchestrator.text import plural
from orchestrator.text import seconds as lasting
from workers.supervisor.process import marked
from workers.telemetry.descendants import descendants

_MIB = 1 << 20
ZYGOTE, SUPERVISOR = b"workers.supervisor.zygote", b"ray::ReplicaActor"
"""In the command lines of these processes."""


@dataclass(frozen=True)
class Warm:
    """A warm machine that is up."""

    state: State
    memory: dict[str, int] | None
    """Bytes by part; pages that several share count once. None if the kernel does not say."""
    started: bool = False
    """Whether it was not up before."""

    @property
    def total(self) -> int | None:
        return sum(self.memory.values()) if self.memory else None

    def to_json(self) -> dict[str, Any]:
        return {
            "up": True,
            "started": self.started,
            "seconds_left": self.state.seconds_left,
            "commands": self.state.commands,
            "ending": self.state.ending,
            "problem": self.state.problem,
            "memory_bytes": self.memory,
        }


def look() -> Check:
    """The line of `regatta doctor`."""
    name = "Warm"
    try:
        found = ask({"ask": "state"})
    except OSError as error:
        return Check(name, Status.WARN, f"a warm machine is up, but {error}", "regatta down")
    if found is None:
        detail = "not up: every command starts Ray and imports TensorFlow itself"
        return Check(name, Status.OK, detail, "regatta up keeps both ready for the next ones")
    found.connection.close()
    warm = Warm(found.state, memory(found.state))
    used = f"used by {plural(warm.state.commands, 'command')}"
    detail = f"up for another {lasting(warm.state.seconds_left)}, {used}. {described(warm)}"
    if (reason := unusable(warm.state, collect(), ())) is not None:
        return Check(name, Status.WARN, f"{detail}; not used from here: {reason}", "regatta down, then regatta up")
    return Check(name, Status.OK, detail, "regatta down ends it")


def described(warm: Warm) -> str:
    """The memory of each part."""
    if warm.memory is None or warm.total is None:
        return "Their memory is not available"
    parts = ", ".join(f"{name} {size / _MIB:,.0f}" for name, size in warm.memory.items())
    return f"They hold {warm.total / _MIB:,.0f} MiB ({parts})"


def memory(state: State) -> dict[str, int] | None:
    """The proportional set sizes of the machine's processes, without those of commands that use it."""
    zygotes = {pid for pid in marked(state.session) if ZYGOTE in _command(pid)}
    tasks = {pid for zygote in zygotes for pid in descendants(zygote)}
    ray = {pid for pid in descendants(state.pid) if SUPERVISOR not in _command(pid)}
    sizes = {"TensorFlow": _size(zygotes - tasks), "Ray": _size(ray), "keeper": _size({state.pid})}
    return sizes if sizes["keeper"] else None


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _size(pids: set[int]) -> int:
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii", errors="replace").splitlines()
            total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
    return total
