"""Facts that `machine` reads from the kernel's files, from sockets and from child processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.doctor import machine

pytestmark = pytest.mark.unit


@pytest.fixture
def kernel(tmp_path: Path) -> Any:
    """Writes files below a folder that stands for the root of the machine."""

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path

    return write


V2 = "0::/user.slice/regatta.scope\n"
V1 = "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n"
MEMINFO = "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 600 kB\nHugePages_Total: 0\n"


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"proc/self/cgroup": V2, "sys/fs/cgroup/user.slice/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": V2, "sys/fs/cgroup/user.slice/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2.0),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            0.5,
        ),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
)
def test_cpu_quota(kernel: Any, files: dict[str, str], quota: float | None) -> None:
    assert machine.cores(kernel(files)).quota == quota


def test_the_lowest_quota_of_all_cgroups_counts(kernel: Any) -> None:
    root = kernel(
        {
            "proc/self/cgroup": V2,
            "sys/fs/cgroup/user.slice/cpu.max": "100000 100000",
            "sys/fs/cgroup/user.slice/regatta.scope/cpu.max": "800000 100000",
        }
    )
    assert machine.cores(root).quota == 1.0


def test_cores_of_this_process() -> None:
    found = machine.cores()
    assert 1 <= found.usable <= found.affinity <= found.machine


def test_memory_of_the_machine(kernel: Any) -> None:
    assert machine.memory(kernel({"proc/meminfo": MEMINFO})) == machine.Memory(1000 * 1024, 600 * 1024)


def test_memory_of_a_limited_container(kernel: Any) -> None:
    root = kernel(
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "512000\n",
            "sys/fs/cgroup/memory.current": "112000\n",
        }
    )
    assert machine.memory(root) == machine.Memory(512_000, 400_000)


def test_memory_without_proc(kernel: Any) -> None:
    found = machine.memory(kernel({}))
    assert found is not None
    assert found.total > 0


def test_ports_below_the_ephemeral_range(kernel: Any) -> None:
    found = machine.ports(kernel({"proc/sys/net/ipv4/ip_local_port_range": "20000\t60999\n"}), tries=8)
    assert (found.low, found.high, found.tried) == (15000, 20000, 8)
    assert found.free > 0


def test_no_port_below_the_ephemeral_range(kernel: Any) -> None:
    found = machine.ports(kernel({"proc/sys/net/ipv4/ip_local_port_range": "1024 65535"}))
    assert (found.tried, found.free) == (0, 0)


def test_a_taken_port_is_not_free() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        assert not machine._can_bind(socket.AF_INET, "", holder.getsockname()[1])


def test_disk_of_the_nearest_existing_folder(tmp_path: Path) -> None:
    nearest, free, writable = machine.disk_free(tmp_path / "a" / "b")
    assert (nearest, writable) == (tmp_path, True)
    assert free > 0
    (tmp_path / "file").write_text("")
    assert machine.disk_free(tmp_path / "file")[2] is False


class TestChild:
    def test_last_line_is_read(self) -> None:
        found = machine.ask_child(["-c", "print('noise'); print('{\"a\": 1}')"], 30)
        assert (found.answer, found.problem) == ({"a": 1}, "")

    def test_failure_gives_one_line(self) -> None:
        found = machine.ask_child(["-c", "import no_such_module"], 30)
        assert found.answer is None
        assert found.problem == "ModuleNotFoundError: No module named 'no_such_module'"

    def test_exit_without_output(self) -> None:
        assert machine.ask_child(["-c", "import os; os._exit(7)"], 30).problem == "exit code 7"

    def test_timeout(self) -> None:
        assert machine.ask_child(["-c", "import time; time.sleep(60)"], 0.3).problem == "no answer within 0.3 s"

    def test_the_current_folder_is_not_imported_from(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
        (tmp_path / "workers").mkdir()
        monkeypatch.chdir(tmp_path)
        answer = machine.gpu_report().answer
        assert answer is not None
        assert set(answer) == {"state", "detail", "driver", "devices"}


def test_children_do_not_inherit_tf_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", "{}")
    code = "import json, os; print(json.dumps({'seen': 'TF_CONFIG' in os.environ}))"
    assert machine.ask_child(["-c", code], 30).answer == {"seen": False}
    assert os.environ["TF_CONFIG"] == "{}"


def test_limits_are_those_of_the_process() -> None:
    code = "from orchestrator.doctor import checks, machine; print(checks.limits(machine.limits()))"
    for limit, words in (("--nproc=150", "150 processes"), ("--nofile=64", "64 open files")):
        done = subprocess.run(
            ["prlimit", limit, sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
        )
        assert words in done.stdout, done.stderr
        assert "'warn'" in done.stdout
