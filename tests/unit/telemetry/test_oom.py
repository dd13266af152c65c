"""Out-of-memory evidence, from files like the kernel's."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from workers.news import HostSample
from workers.telemetry.oom import OomEvidence
from workers.telemetry.vitals import vitals

pytestmark = pytest.mark.unit

KILLED = -signal.SIGKILL


class Kernel:
    """Some files of /proc and /sys/fs/cgroup."""

    def __init__(self, root: Path) -> None:
        self.proc, self.cgroups = root / "proc", root / "cgroup"
        (self.proc / "7").mkdir(parents=True)
        (self.proc / "self").mkdir()
        self.write("meminfo", "MemTotal:       8388608 kB\nMemFree: 1 kB\n")

    def write(self, name: str, text: str) -> None:
        (self.proc / name).write_text(text)

    def group(self, version: int, kills: int, limit: str) -> None:
        line, name, counter, maximum = {
            1: ("4:memory:/job", "memory/job", "memory.oom_control", "memory.limit_in_bytes"),
            2: ("0::/job", "job", "memory.events", "memory.max"),
        }[version]
        self.write("7/cgroup", f"9:cpu:/elsewhere\n{line}\n")
        folder = self.cgroups / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / counter).write_text(f"low 0\noom_kill_disable 0\noom_kill {kills}\n")
        (folder / maximum).write_text(limit)

    def evidence(self) -> OomEvidence:
        return OomEvidence(self.proc, self.cgroups)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def sample(rss: int | None) -> HostSample:
    return HostSample(1.0, None, rss, None, None, None, None, None, None)


@pytest.mark.parametrize("version", [1, 2])
def test_a_kill_in_the_cgroup(kernel: Kernel, version: int) -> None:
    kernel.group(version, 2, "3221225472\n")
    evidence = kernel.evidence()
    evidence.read(7, [sample(3 << 29), sample(None)])
    kernel.group(version, 3, "3221225472\n")
    (kernel.proc / "7" / "cgroup").unlink()
    kill = evidence.explain(KILLED)
    assert kill is not None
    assert kill.out_of_memory
    assert "it used 1.50 GiB, shared pages included, and the limit of its cgroup or host is 3.0 GiB" in kill.summary
    assert "--batch-size" in kill.hint


def test_a_process_that_ends_some_time_after_the_kill(kernel: Kernel) -> None:
    now = [100.0]
    evidence = OomEvidence(kernel.proc, kernel.cgroups, lambda: now[0])
    for second in range(20):
        now[0] = 100.0 + second
        kernel.write("vmstat", f"oom_kill {int(second >= 18)}\n")
        evidence.read(7)
    kill = evidence.explain(KILLED)
    assert kill is not None
    assert kill.out_of_memory
    for second in range(20, 30):  # too long ago: another process was killed
        now[0] = 100.0 + second
        evidence.read(7)
    kill = evidence.explain(KILLED)
    assert kill is not None
    assert not kill.out_of_memory


def test_a_kill_on_the_host(kernel: Kernel) -> None:
    kernel.write("vmstat", "pgfault 12\noom_kill 0\n")
    evidence = kernel.evidence()
    evidence.read(7)
    kernel.write("vmstat", "pgfault 13\noom_kill 1\n")
    kill = evidence.explain(137)
    assert kill is not None
    assert kill.out_of_memory
    assert kill.summary == "was killed by the kernel: out of memory"


def test_a_kill_by_another_process(kernel: Kernel) -> None:
    kernel.write("vmstat", "oom_kill 4\n")
    evidence = kernel.evidence()
    evidence.read(7, [sample(1 << 30)])
    kill = evidence.explain(KILLED)
    assert kill is not None
    assert not kill.out_of_memory
    assert kill.summary == "was killed by SIGKILL"
    assert "another process sent the signal" in kill.hint


def test_a_kernel_without_counts_leaves_both_causes_open(kernel: Kernel) -> None:
    evidence = kernel.evidence()
    evidence.read(7, [sample(1 << 30)])
    kill = evidence.explain(KILLED)
    assert kill is not None
    assert not kill.out_of_memory
    assert "1.00 GiB" in kill.summary
    assert "Unless a process sent the signal" in kill.hint


@pytest.mark.parametrize("code", [None, 0, 1, -signal.SIGTERM, -signal.SIGSEGV])
def test_other_exit_codes_are_not_explained(kernel: Kernel, code: int | None) -> None:
    assert kernel.evidence().explain(code) is None


def test_vitals(tmp_path: Path) -> None:
    (tmp_path / "5").mkdir()
    fields = " ".join(str(n) for n in range(4, 50))
    (tmp_path / "5" / "stat").write_text(f"5 (a (b) T) S {fields}")
    seen = vitals(5, tmp_path)
    assert seen is not None
    assert seen.state == "S"
    assert seen.cpu_seconds == pytest.approx((14 + 15) / 100)
    assert vitals(6, tmp_path) is None
    assert vitals(None) is None
