"""Faults other than signals: ports, launches that never end, slow workers, code that always fails, memory."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import ClusterError, JobError, TaskDiedError
from tests.chaos.checker import check_run
from tests.chaos.history import History
from tests.chaos.nemesis import Throttle
from tests.chaos.watched_runs import Onlooker, run
from tests.marked import slow
from workers.addresses import Reservation
from workers.messages import Task
from workers.supervisor import replica

W1 = Task("worker", 1)


@pytest.fixture
def intruder(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Another process takes the port of a task before the task does, as often as the list says."""
    times, taken = [0], []

    class Unlucky(Reservation):
        def __init__(self, host: str) -> None:
            while taken:  # a new attempt, for which the ports taken from the previous one no longer matter
                taken.pop().close()
            super().__init__(host)

        def release(self) -> None:
            super().release()
            if times[0] > 0:
                times[0] -= 1
                with contextlib.suppress(OSError):
                    taken.append(socket.create_server(("", self.port), family=socket.AF_INET6, dualstack_ipv6=True))

    monkeypatch.setattr(replica, "Reservation", Unlucky)
    yield times
    for server in taken:
        server.close()


@pytest.mark.parametrize("mode", ["sync", slow("async")])
def test_a_port_that_was_taken_means_new_ports(mode: str, intruder: list[int], tmp_path: Path) -> None:
    intruder[0] = 1
    result = run(tmp_path, Onlooker(), mode=mode, steps=100)
    check_run(tmp_path, result, 100, 100)
    assert result.attempts == 2
    assert [failure.kind for failure in result.failures] == ["address_taken"]


@pytest.mark.slow
def test_ports_are_tried_three_times(intruder: list[int], tmp_path: Path) -> None:
    intruder[0] = 100
    with pytest.raises(ClusterError, match="could not bind its port"):
        run(tmp_path, Onlooker(), mode="async", steps=100)
    assert len(History.read(tmp_path).of("restart")) == 2


class Holder(Onlooker):
    """Stops a task as soon as it has a process, in the first launches."""

    def __init__(self, task: Task, times: int) -> None:
        super().__init__()
        self.held: set[int] = set()

        def hold(_: Onlooker) -> None:
            pid = self.pids.get(task)
            if pid is not None and pid not in self.held and len(self.held) < times:
                self.held.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)

        self.launch_acts.append(hold)


@pytest.mark.slow
def test_a_peer_that_never_joins_is_named_and_the_group_relaunched(tmp_path: Path) -> None:
    result = run(tmp_path, Holder(W1, times=1), mode="sync", steps=100, launch_timeout=12.0)
    history = check_run(tmp_path, result, 100, 100)
    assert result.attempts == 2
    [restart] = history.of("restart")
    assert (restart.task, restart.detail["failure"]) == ("worker:1", "late")
    assert "worker:1 (starting)" in result.failures[0].summary
    assert "SIGSTOP" in result.failures[0].summary


@pytest.mark.slow
def test_a_slow_worker_is_not_a_hung_one(tmp_path: Path) -> None:
    """An eighth of the processor from step 100 on, with a limit of 2 s."""
    with contextlib.ExitStack() as stack:

        class Slowing(Onlooker):
            def training(self, tick: object) -> None:
                super().training(tick)  # type: ignore[arg-type]
                if self.step >= 100 and not self.acts:
                    self.acts.append(lambda _: None)
                    stack.enter_context(Throttle(self.pids[W1]))

        result = run(tmp_path, Slowing(), mode="sync", steps=300)
    check_run(tmp_path, result, 300, 100)
    assert (result.attempts, result.failures) == (1, ())


@pytest.mark.slow
def test_what_crashes_every_time_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(TaskDiedError, match=r"exit code 7.*restarted once without getting beyond") as raised:
        run(tmp_path, Onlooker(), job="doomed.py:Doomed", mode="sync", steps=5000, interval=5000, max_restarts=1)
    assert len(History.read(tmp_path).of("restart")) == 1
    assert "logs/" in str(raised.value)


def test_an_exception_of_the_jobs_is_not_tried_again(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="the disk with the data went away"):
        run(tmp_path, Onlooker(), job="broken.py:RaisesInTraining", mode="sync", steps=1000)
    assert not History.read(tmp_path).of("restart")


def test_a_nan_is_not_tried_again(tmp_path: Path) -> None:
    fields = {"job": "diverging.py", "params": {"at": 100, "kind": "nan"}}
    result = run(tmp_path, Onlooker(), mode="sync", steps=300, **fields)
    assert (result.status, result.stop_reason, result.attempts) == ("failed", "nan", 1)
    assert "nan" in {finding.kind for finding in result.stability.findings}


@contextlib.contextmanager
def memory_group(name: str, limit: int) -> Iterator[Path]:
    """A cgroup whose processes share `limit` bytes."""
    roots = [Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")]
    maximum = {roots[0]: "memory.limit_in_bytes", roots[1]: "memory.max"}
    for root in roots:
        folder = root / name
        try:
            folder.mkdir()
            (folder / maximum[root]).write_text(str(limit))
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()
            continue
        try:
            yield folder
        finally:
            folder.rmdir()
        return
    pytest.skip("needs root and a cgroup hierarchy with a memory controller that can be written to")


def test_a_kill_for_want_of_memory_is_told_apart(tmp_path: Path) -> None:
    with memory_group(f"regatta-test-{os.getpid()}", 400 << 20) as group:

        class Confining(Onlooker):
            def launching(self, tick: object) -> None:
                super().launching(tick)  # type: ignore[arg-type]
                if W1 in self.pids:
                    (group / "cgroup.procs").write_text(str(self.pids[W1]))

        fields = {"job": "doomed.py:Devouring", "sample_seconds": 0.1, "params": {"after": 100}}
        with pytest.raises(TaskDiedError, match="out of memory") as raised:
            run(tmp_path, Confining(), mode="sync", steps=5000, max_restarts=0, **fields)
    [failure] = [event for event in History.read(tmp_path).of("failure") if event.detail["failure"] == "out_of_memory"]
    assert failure.task == "worker:1"
    assert "the limit of its cgroup or host is 0.4 GiB" in failure.detail["summary"]
    assert "--batch-size" in str(raised.value)
