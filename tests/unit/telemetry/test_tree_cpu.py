"""CPU time of a process tree: every second counts once, however processes start and end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.telemetry.host import HostReader, ProcessUsage, cpu_seconds_between


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def usage(own: float, reaped: float = 0.0, parent: int = 1, created: float = 1.0) -> ProcessUsage:
    return ProcessUsage(created=created, parent=parent, own=own, reaped=reaped, rss=0)


def test_cpu_of_a_reused_pid_starts_at_zero() -> None:
    before = {1: usage(0), 2: usage(9.0, created=1.0)}
    after = {1: usage(0), 2: usage(0.25, created=2.0)}
    assert cpu_seconds_between(before, after) == pytest.approx(0.25)


def test_time_of_a_branch_that_ended_is_inherited_less_what_was_counted_before() -> None:
    before = {1: usage(0), 2: usage(3.0), 3: usage(5.0, parent=2), 4: usage(7.0, parent=3)}
    assert cpu_seconds_between(before, {1: usage(0, reaped=15.5)}) == pytest.approx(0.5)


class Family:
    """A process tree in which every CPU second is known. Pid 1 is the root and never ends."""

    def __init__(self) -> None:
        self.tree = {1: usage(0.0, parent=0)}
        self.used = 0.0
        self.next_pid = 2

    def do(self, what: str, which: int) -> None:
        pid = list(self.tree)[which % len(self.tree)]
        process = self.tree[pid]
        children = [p for p, other in self.tree.items() if other.parent == pid]
        if what == "burn":
            self.tree[pid] = replace(process, own=process.own + 1 + which)
            self.used += 1 + which
        elif what == "spawn":
            self.tree[self.next_pid] = usage(0.0, parent=pid)
            self.next_pid += 1
        elif pid != 1 and not children:  # "end" and "vanish"
            del self.tree[pid]
            parent = self.tree[process.parent]
            if what == "end":
                inherited = parent.reaped + process.own + process.reaped
                self.tree[process.parent] = replace(parent, reaped=inherited)


def steps(*what: str) -> st.SearchStrategy[list[tuple[str, int]]]:
    return st.lists(st.tuples(st.sampled_from(what), st.integers(0, 5)), max_size=40)


def measured(family: Family, script: list[tuple[str, int]]) -> float:
    before, seconds = dict(family.tree), 0.0
    for what, which in [*script, ("read", 0)]:
        if what == "read":
            seconds += cpu_seconds_between(before, family.tree)
            before = dict(family.tree)
        else:
            family.do(what, which)
    return seconds


@given(steps("burn", "spawn", "end", "read"))
def test_every_cpu_second_counts_once(script: list[tuple[str, int]]) -> None:
    family = Family()
    assert measured(family, script) == pytest.approx(family.used)


@given(steps("burn", "spawn", "end", "vanish", "read"))
def test_processes_without_a_waiting_parent_neither_add_nor_remove_time(script: list[tuple[str, int]]) -> None:
    family = Family()
    assert 0.0 <= measured(family, script) <= family.used + 1e-9


FAMILY = """
import subprocess, sys, time
def burn(seconds):
    while time.process_time() < seconds: pass
if len(sys.argv) > 1:
    burn(float(sys.argv[1])); sys.exit()
for line in sys.stdin:
    me = open("/proc/self/cmdline").read().split("\\0")[3]
    subprocess.run([sys.executable, "-S", "-c", me, line.strip()])
    print(flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="children's CPU time is inherited on Linux only")
def test_a_child_that_lived_between_two_readings_is_counted(
    spawn: Callable[[str], subprocess.Popen[str]],
) -> None:
    clock = Clock()
    reader = HostReader(clock=clock)
    parent = spawn(FAMILY)
    assert parent.stdin
    assert parent.stdout
    reader.read(parent.pid)
    parent.stdin.write("0.2\n")
    parent.stdin.flush()
    parent.stdout.readline()
    clock.now += 1.0
    reading = reader.read(parent.pid)
    assert reading.pids == {parent.pid}
    assert reading.sample.cpu_percent is not None
    assert 18 <= reading.sample.cpu_percent < 100  # 20, and what starting Python costs
