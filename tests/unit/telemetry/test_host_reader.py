"""Readings of a process tree and its host, and the reasons for those that fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from workers.telemetry import host
from workers.telemetry.descendants import descendants
from workers.telemetry.host import HostReader

NICS = ("net_sent_per_s", "net_received_per_s")
DISKS = ("disk_read_per_s", "disk_written_per_s")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Machine:
    """The host as psutil reports it."""

    net: Any = None
    disk: Any = None
    cpu: Any = None


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    m = Machine(
        net=SimpleNamespace(bytes_sent=1000, bytes_recv=5000),
        disk={"none": SimpleNamespace(read_bytes=100, write_bytes=200)},
        cpu=cpu_times(user=10, idle=90),
    )
    monkeypatch.setattr(psutil, "net_io_counters", lambda: made(m.net))
    monkeypatch.setattr(
        psutil, "disk_io_counters", lambda perdisk=False: made(m.disk) if perdisk else total(made(m.disk))
    )
    monkeypatch.setattr(psutil, "cpu_times", lambda: made(m.cpu))
    return m


def made(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return value


def total(disks: dict[str, Any]) -> Any:
    return next(iter(disks.values()), None)


def cpu_times(**seconds: float) -> Any:
    return SimpleNamespace(_asdict=lambda: dict(seconds))


def test_rates_are_differences_over_the_clock(machine: Machine) -> None:
    clock = Clock()
    reader = HostReader(clock=clock, wall=lambda: 1234.5)
    first = reader.read(os.getpid()).sample
    rates = ("cpu_percent", "host_cpu_percent", *NICS, *DISKS)
    assert [getattr(first, rate) for rate in rates] == [None] * 6
    assert set(first.notes) == {f"{n}: first sample" for n in ("process cpu", "network", "disk", "host cpu")}
    assert (first.time, first.gpus) == (1234.5, ())
    assert first.rss_bytes is not None
    assert first.rss_bytes > 1 << 20

    clock.now += 2.0
    machine.net = SimpleNamespace(bytes_sent=1600, bytes_recv=5000)
    machine.disk = {"none": SimpleNamespace(read_bytes=100, write_bytes=1200)}
    machine.cpu = cpu_times(user=14, idle=100, iowait=2, guest=1)  # guest is in user already
    second = reader.read(os.getpid()).sample
    assert second.notes == ()
    assert (second.net_sent_per_s, second.net_received_per_s) == (300.0, 0.0)
    assert (second.disk_read_per_s, second.disk_written_per_s) == (0.0, 500.0)
    assert second.host_cpu_percent == pytest.approx(100 * 4 / 16)
    assert second.cpu_percent is not None
    assert 0 <= second.cpu_percent < 200


@pytest.mark.parametrize(
    ("part", "broken", "note", "fields"),
    [
        ("net", None, "network: no network interface", NICS),
        ("net", PermissionError(13, "Permission denied"), "network: PermissionError", NICS),
        ("net", SimpleNamespace(bytes_sent=0, bytes_recv=9000), "network: a counter went backwards", NICS),
        ("disk", {}, "disk: no disk", DISKS),
        ("disk", NotImplementedError("no /proc/diskstats"), "disk: NotImplementedError", DISKS),
        ("cpu", cpu_times(user=10, idle=90), "host cpu: the counters did not change", ("host_cpu_percent",)),
        ("cpu", psutil.AccessDenied(1), "host cpu: no permission", ("host_cpu_percent",)),
    ],
)
def test_a_reading_that_fails_is_none_with_a_reason_and_leaves_the_others(
    machine: Machine, part: str, broken: Any, note: str, fields: tuple[str, ...]
) -> None:
    clock = Clock()
    reader = HostReader(clock=clock)
    reader.read(os.getpid())
    clock.now += 1.0
    machine.cpu = cpu_times(user=11, idle=91)
    setattr(machine, part, broken)
    sample = reader.read(os.getpid()).sample
    assert [getattr(sample, field) for field in fields] == [None] * len(fields)
    assert len(sample.notes) == 1
    assert sample.notes[0].startswith(note)
    assert None not in [value for name, value in vars(sample).items() if name not in fields]


def test_volumes_are_not_counted_on_top_of_their_disks(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    real = {"/sys/block/sda/device", "/sys/block/nvme0n1/device"}
    monkeypatch.setattr("workers.telemetry.host.Path.exists", lambda path: str(path) in real)
    clock = Clock()
    reader = HostReader(clock=clock)
    for bytes_now in (0, 100):
        one = SimpleNamespace(read_bytes=bytes_now, write_bytes=2 * bytes_now)
        machine.disk = dict.fromkeys(("sda", "sda1", "nvme0n1", "dm-0", "loop3"), one)
        sample = reader.read(None).sample
        clock.now += 1.0
    assert (sample.disk_read_per_s, sample.disk_written_per_s) == (200.0, 400.0)


def test_a_clock_that_stands_still_gives_no_rates(machine: Machine) -> None:
    reader = HostReader(clock=Clock())
    reader.read(os.getpid())
    sample = reader.read(os.getpid()).sample
    assert (sample.cpu_percent, sample.net_sent_per_s) == (None, None)
    assert "process cpu: no time has passed since the last sample" in sample.notes


def test_a_tree_that_is_absent_ends_or_is_replaced(spawn: Callable[[str], subprocess.Popen[str]]) -> None:
    clock = Clock()
    reader = HostReader(clock=clock)
    nothing = reader.read(None)
    assert (nothing.sample.cpu_percent, nothing.sample.rss_bytes, nothing.pids) == (None, None, frozenset())
    assert "process: none is running" in nothing.sample.notes

    child = spawn("input()")
    for expected in ("first sample", None):
        clock.now += 1.0
        reading = reader.read(child.pid)
        assert (f"process cpu: {expected}" in reading.sample.notes) == (expected is not None)
        assert reading.pids == {child.pid}

    other = spawn("input()")
    clock.now += 1.0
    assert "process cpu: first sample" in reader.read(other.pid).sample.notes

    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and still in the process table
    zombie = reader.read(child.pid)
    assert f"process: {child.pid} has ended (not yet waited for)" in zombie.sample.notes
    assert (zombie.sample.rss_bytes, zombie.pids) == (None, frozenset())
    child.wait()
    assert f"process: {child.pid} has ended" in reader.read(child.pid).sample.notes


def test_a_child_that_is_running_is_in_the_tree(spawn: Callable[[str], subprocess.Popen[str]]) -> None:
    child = spawn("input()")
    reading = HostReader().read(os.getpid())
    alone = psutil.Process().memory_info().rss
    assert {os.getpid(), child.pid} <= reading.pids
    assert reading.sample.rss_bytes is not None
    assert reading.sample.rss_bytes > alone


def test_a_later_child_is_found_although_lists_are_not_read_every_time(
    spawn: Callable[[str], subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[int] = []
    newest = [1]
    monkeypatch.setattr(host, "newest_pid", lambda: newest[0])
    monkeypatch.setattr(host, "descendants", lambda pid: listed.append(pid) or descendants(pid))
    parent = spawn("import subprocess; input(); child = subprocess.Popen(['sleep', '60']); print(child.pid); input()")
    reader = HostReader()
    assert [reader.read(parent.pid).pids for _ in range(2)] == [{parent.pid}] * 2
    assert listed == [parent.pid], "nothing was started in between"
    assert parent.stdin is not None
    assert parent.stdout is not None
    print(file=parent.stdin, flush=True)
    child = int(parent.stdout.readline())
    newest[0] = child
    try:
        assert [reader.read(parent.pid).pids for _ in range(2)] == [{parent.pid, child}] * 2
    finally:
        os.kill(child, signal.SIGKILL)
    assert len(listed) == 2


def test_importing_the_sampler_is_cheap() -> None:
    code = (
        "import sys, time; t = time.process_time(); import workers.telemetry.sampler as s;"
        "print(time.process_time() - t, *({'tensorflow', 'ray', 'numpy', 'pynvml'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    best = min(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() for _ in range(2))
    assert best[1:] == []
    assert float(best[0]) < 0.5  # seconds of processor time


def test_a_reading_is_cheap() -> None:
    reader = HostReader()
    reader.read(os.getpid())
    started = time.process_time()
    for _ in range(5):
        reader.read(os.getpid())
    assert (time.process_time() - started) / 5 < 0.05
