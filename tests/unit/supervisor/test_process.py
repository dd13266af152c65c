"""Processes of replicas, forked by a zygote that preloads nothing, so without TensorFlow."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from workers.session import session_directory, zygote_address
from workers.supervisor import process, zygote
from workers.supervisor.process import ForkedProcess, SpawnedProcess, start_zygote

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forking is for Linux")

ZYGOTE = """
import os, sys, time, types
from pathlib import Path
import workers.task
from workers.supervisor import zygote

def main(control):
    # Instead of training, run the code that arrives through the control socket.
    import socket
    code = socket.socket(fileno=control).recv(65536).decode()
    return eval(compile(code, "replica", "exec"), {"control": control}) or 0

task = types.ModuleType("workers.task.main")
task.main = main
sys.modules["workers.task.main"] = workers.task.main = task
zygote.preload = lambda: None
setsid = os.setsid
os.setsid = lambda: (time.sleep(float(sys.argv[3])), setsid())
zygote.IDLE_SECONDS = float(sys.argv[2])
server = zygote.Zygote(sys.argv[1])
assert server.bind()
server.serve()
"""


class Host:
    """One host's zygote, and replicas forked from it that run the code they are sent."""

    def __init__(self, session: str, idle: float, fork: float) -> None:
        self.session = session
        self.address = zygote_address(session)
        command = [sys.executable, "-P", "-c", ZYGOTE, session, str(idle), str(fork)]
        env = process.python_environment()
        env.pop(zygote.SESSION_MARK, None)  # the zygote must not kill the processes of a session that runs these tests
        self.zygote = subprocess.Popen(command, env=env, start_new_session=True)
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self.controls: list[socket.socket] = []
        self.replicas: list[ForkedProcess] = []
        self.client = until(lambda: process._connect(self.address))

    def start(self, code: str = "import time; time.sleep(60)", cwd: str = "/", **env: str) -> ForkedProcess:
        mine, theirs = socket.socketpair()
        with theirs:
            replica = ForkedProcess(self.session, env, cwd, theirs, self.log.fileno())
        mine.send(code.encode())
        self.controls.append(mine)
        self.replicas.append(replica)
        return replica

    def start_many(self, count: int) -> tuple[list[ForkedProcess], list[int]]:
        """Replicas that run until they are killed, and their pids."""
        started = [self.start("import time; print('up', flush=True); time.sleep(60)") for _ in range(count)]
        until(lambda: self.said().count("up") == count)
        return started, [until(lambda replica=replica: replica.pid) for replica in started]

    def said(self) -> str:
        return os.pread(self.log.fileno(), 1 << 20, 0).decode()  # replicas write at the file's own, shared offset

    def close(self) -> None:
        for replica in self.replicas:
            replica.kill()
            replica._zygote.close()
        for control in self.controls:
            control.close()
        self.client.close()
        self.log.close()
        self.zygote.kill()
        self.zygote.wait()


def until(found: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
    return answer


def is_gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


@pytest.fixture
def short_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files with a short path, as a socket needs; pytest's own are too long."""
    with tempfile.TemporaryDirectory(prefix="regatta-test-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture
def new_host(short_folder: Path) -> Iterator[Callable[..., Host]]:
    hosts: list[Host] = []

    def make(idle: float = 30.0, fork: float = 0.0) -> Host:
        """`idle`: seconds without a client after which the zygote ends; `fork`: seconds a fork takes to come up."""
        hosts.append(Host(f"s{len(hosts)}-{os.getpid()}", idle, fork))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


@pytest.fixture
def host(new_host: Callable[..., Host]) -> Host:
    return new_host()


def test_a_replica_gets_its_environment_folder_log_and_control(host: Host, tmp_path: Path) -> None:
    code = "import os; print(dict(os.environ), os.getcwd(), os.getsid(0) == os.getpid()); os.write(2, b'and this')"
    replica = host.start(code, cwd=str(tmp_path), HELLO="world")
    assert replica.wait(60) == 0
    assert host.said().splitlines() == [f"{{'HELLO': 'world'}} {tmp_path} True", "and this"] or (
        # Python's own buffer is flushed last.
        host.said() == f"and this{{'HELLO': 'world'}} {tmp_path} True\n"
    )


def test_a_replica_starts_without_its_folder_if_that_is_gone(host: Host) -> None:
    assert host.start("pass", cwd="/no/such/folder").wait(60) == 0


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("import os; os._exit(3)", 3),
        ("raise SystemExit(4)", 1),
        ("raise KeyError", 1),
        ("import os; os.kill(os.getpid(), 11)", -signal.SIGSEGV),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
    ],
)
def test_the_exit_code_tells_how_a_replica_ended(host: Host, code: str, exit_code: int) -> None:
    replica = host.start(code)
    assert replica.wait(60) == exit_code
    assert replica.wait(0) == exit_code
    replica.kill()
    assert replica.wait(0) == exit_code


def test_a_running_replica_has_a_pid_and_no_exit_code(host: Host) -> None:
    replica = host.start()
    pid = until(lambda: replica.pid)
    assert replica.wait(0.01) is None
    os.kill(pid, signal.SIGTERM)
    assert replica.wait(60) == -signal.SIGTERM
    assert replica.pid == pid


def test_a_replica_is_killed_with_its_children(host: Host) -> None:
    code = (
        "import subprocess, time; child = subprocess.Popen(['sleep', '60']);"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    replica = host.start(code)
    child = int(until(host.said))
    replica.kill()
    assert replica.wait(60) == -signal.SIGKILL
    until(lambda: is_gone(child))


def test_a_replica_ends_with_its_supervisor(host: Host) -> None:
    replicas, (gone, stays) = host.start_many(2)
    replicas[0]._zygote.close()
    until(lambda: is_gone(gone))
    assert not is_gone(stays)
    assert replicas[1].wait(0) is None


def test_a_replica_can_be_killed_before_it_is_forked(host: Host) -> None:
    os.kill(host.zygote.pid, signal.SIGSTOP)  # as if it were busy importing
    replica = host.start()
    replica.kill()
    os.kill(host.zygote.pid, signal.SIGCONT)
    assert replica.wait(1) == -signal.SIGKILL
    assert replica.pid is not None
    assert is_gone(replica.pid)


def test_a_replica_can_be_killed_while_it_comes_up(new_host: Callable[..., Host]) -> None:
    replica = new_host(fork=0.3).start()
    pid = until(lambda: replica.pid)
    replica.kill()
    ended = replica.wait(1)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    assert ended == -signal.SIGKILL


def test_many_replicas_at_once(host: Host) -> None:
    replicas = [host.start(f"import os; os._exit({number})") for number in range(40)]
    assert [replica.wait(20) for replica in replicas] == list(range(40))
    assert len({replica.pid for replica in replicas}) == 40


def test_a_replica_inherits_no_sockets_of_the_others(host: Host) -> None:
    """Otherwise a supervisor's death would go unnoticed: its sockets would still be open in another process."""
    _, pids = host.start_many(5)
    folders = [Path(f"/proc/{pid}/fd") for pid in pids]
    sockets = [sum(str(link.readlink()).startswith("socket:") for link in folder.iterdir()) for folder in folders]
    assert len(set(sockets)) == 1, "the replica started last holds more than the first"


def test_replicas_end_with_their_zygote(host: Host) -> None:
    replicas, pids = host.start_many(3)
    host.zygote.kill()
    assert [replica.wait(60) for replica in replicas] == [-signal.SIGKILL] * 3
    until(lambda: all(map(is_gone, pids)))


def test_the_zygote_ends_without_clients(new_host: Callable[..., Host]) -> None:
    host = new_host(idle=0.1)
    replica = host.start("pass")
    assert replica.wait(60) == 0
    time.sleep(0.3)  # longer than it may be idle, but with a client
    assert host.zygote.poll() is None
    host.client.close()
    host.zygote.wait(60)
    assert host.zygote.returncode == 0
    assert process._connect(host.address) is None


def test_ctrl_c_does_not_end_the_zygote(host: Host) -> None:
    assert host.start("pass").wait(60) == 0  # the zygote serves
    os.kill(host.zygote.pid, signal.SIGINT)
    replica = host.start("import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_DFL)")
    assert replica.wait(60) == 0
    assert host.said() == "True\n"


def test_clients_may_leave_without_a_request(host: Host) -> None:
    clients = [process._connect(host.address) for _ in range(20)]
    for client in clients:
        assert client is not None
        client.close()
    assert host.start("pass").wait(60) == 0


def test_an_environment_that_is_too_large_is_refused(host: Host) -> None:
    with pytest.raises(OSError, match="too large to pass on"):
        host.start("pass", HUGE="x" * zygote.MAX_REQUEST)
    almost = "x" * (zygote.MAX_REQUEST - len(json.dumps({"env": {"LARGE": ""}, "cwd": "/", "main": process.TASK})))
    replica = host.start("import os; os._exit(len(os.environ['LARGE']) > 100_000)", LARGE=almost)
    assert replica.wait(60) == 1


def test_a_session_has_one_zygote(host: Host) -> None:
    with start_zygote(host.session) as one, start_zygote(host.session) as two:
        peers = [
            int.from_bytes(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], sys.byteorder)
            for client in (one, two)
        ]
    assert peers == [host.zygote.pid] * 2


def test_a_zygote_that_cannot_start_names_its_log(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(OSError, match=r"did not start; see .*zygote\.log"):
        start_zygote("broken")


def test_only_the_owner_can_read_a_sessions_folder(short_folder: Path) -> None:
    path = session_directory("mine")
    assert path.stat().st_mode & 0o777 == 0o700
    assert session_directory("mine") == path


def test_regattas_packages_come_first_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert process.python_environment()["PYTHONPATH"] == f"{ROOT}{os.pathsep}/somewhere"
    monkeypatch.delenv("PYTHONPATH")
    assert process.python_environment()["PYTHONPATH"] == str(ROOT)


def spawn(folder: Path, code: str, cwd: str) -> tuple[SpawnedProcess, Path]:
    """Spawn a process, as for GPUs, that finds a package `workers` whose task runs `code`."""
    task = folder / "workers" / "task"
    task.mkdir(parents=True)
    for package in (task.parent, task):
        (package / "__init__.py").touch()  # a namespace package would lose to an installed one
    (task / "main.py").write_text(code)
    mine, theirs = socket.socketpair()
    log = folder / "log"
    with mine, theirs, log.open("wb") as file:
        spawned = SpawnedProcess({"PYTHONPATH": str(folder), "PATH": os.environ["PATH"]}, cwd, theirs, file.fileno())
    return spawned, log


def test_a_spawned_process(tmp_path: Path) -> None:
    code = "import os, sys; os.fstat(int(sys.argv[1])); print(os.getcwd(), os.getsid(0) == os.getpid()); sys.exit(3)"
    spawned, log = spawn(tmp_path, code, str(tmp_path))
    assert spawned.wait(60) == 3
    assert log.read_text() == f"{tmp_path} True\n"


def test_a_spawned_process_is_killed_with_its_children(tmp_path: Path) -> None:
    code = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    spawned, log = spawn(tmp_path, code, "/no/such/folder")
    child = int(until(log.read_text))
    assert spawned.wait(0.01) is None
    spawned.kill()
    assert spawned.wait(60) == -signal.SIGKILL
    until(lambda: is_gone(child))
    spawned.kill()
