"""A warm machine of which a part dies, hangs or is over: commands go on without it, and nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.processes import as_another_user, counted, marked, wait_for
from tests.integration.warm_machine import Machine, machine, used

pytestmark = pytest.mark.slow

PARTS = ("warm.keeper", "supervisor.zygote", "gcs_server", "raylet/raylet")
LONG = ("run", "digits", "--mode", "sync", "--target", "none", "-v")
TRAINS = counted("SELECT COUNT(*) FROM steps")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as found:
        yield found


def begin(here: Machine, name: str, *arguments: str, samples: int = 400_000) -> subprocess.Popen[str]:
    """A command that has begun to train on the warm machine."""
    process = here.start(*LONG, "--samples", str(samples), "--run-id", name, *arguments)
    wait_for(here.folder / "runs" / name, process, TRAINS, 300)
    return process


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=300)
    assert used(errors), errors
    return process.returncode, errors


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_died_between_two_runs(here: Machine, part: str) -> None:
    here.up()
    assert used(here.run("before"))
    here.kill(part)
    after = here.run("after")
    assert after.returncode == 0, after.stderr
    assert not used(after), after.stderr
    here.nothing_left()
    assert here.up()["started"]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_dies_during_a_run(here: Machine, part: str) -> None:
    here.up()
    process = begin(here, "killed")
    here.kill(part)
    code, errors = ended(process)
    assert "Traceback" not in errors, errors
    if part == "supervisor.zygote":  # its tasks are started again, from another one
        assert code == 0, errors
    else:
        assert code == 4, errors
        assert "regatta resume" in errors, errors
    here.nothing_left()


@pytest.mark.parametrize("part", ["warm.keeper", "supervisor.zygote"])
def test_a_part_that_dies_during_a_run_without_ray(here: Machine, part: str) -> None:
    here.up()
    process = begin(here, "killed", "--backend", "local")
    here.kill(part)
    code, errors = ended(process)
    assert code == 0, errors
    here.nothing_left()


def test_it_ends_when_its_time_is_over(here: Machine) -> None:
    here.up("--minutes", "0.1")
    here.nothing_left(60)
    here.up("--minutes", "0.1")
    process = begin(here, "longer", samples=3_000_000)
    time.sleep(8)
    assert process.poll() is None, "the run is to last longer than the machine: raise its samples"
    assert here.processes("warm.keeper"), "it is to wait for the run"
    refused = here.run("meanwhile", "--backend", "local")
    assert "it ends with the command that uses it" in refused.stderr
    assert ended(process)[0] == 0
    here.nothing_left()


def test_a_changed_environment(here: Machine) -> None:
    here.up()
    changed = here.run("changed", "--backend", "local", XLA_FLAGS="--xla_cpu_multi_thread_eigen=false")
    assert changed.returncode == 0, changed.stderr
    assert "The warm machine is not used: it was started with other values of XLA_FLAGS." in changed.stderr
    refused = here.call("up", XLA_FLAGS="--xla_cpu_multi_thread_eigen=false")
    assert refused.returncode == 2
    assert "`regatta down` ends it" in refused.stderr
    assert used(here.run("unchanged", "--backend", "local"))


def test_two_commands_at_once(here: Machine) -> None:
    here.up()
    both = [begin(here, "sync"), begin(here, "async", "--mode", "async", samples=100_000)]
    for process in both:
        code, errors = ended(process)
        assert code == 0, errors
    assert len(here.processes("warm.keeper")) == 1


def test_down_waits_for_the_command_that_uses_it_unless_told_otherwise(here: Machine) -> None:
    here.up()
    process = begin(here, "first")
    done = here.call("down")
    assert "In use by 1 command" in done.stdout, done.stderr
    assert ended(process)[0] == 0
    here.nothing_left()
    here.up()
    process = begin(here, "second", samples=100_000_000)
    assert "Nothing is kept warm" in here.call("down", "--now").stdout
    here_left = here.processes("gcs_server"), here.processes("warm.keeper")
    assert here_left == ([], [])
    code, errors = ended(process)
    assert code == 4, errors
    here.nothing_left()


def test_a_keeper_that_hangs(here: Machine) -> None:
    here.up()
    here.kill("warm.keeper", signal.SIGSTOP)
    done = here.run("alone", "--backend", "local")
    assert done.returncode == 0
    assert "does not answer" in done.stderr
    assert "does not answer" in here.call("up").stderr
    assert here.call("down").returncode == 0
    here.nothing_left()


JOB = """
import os, subprocess
print("ENVIRONMENT", os.environ.get("MINE"), os.environ.get("ONLY_UP"), os.getcwd(), flush=True)
import keras, numpy as np
model = keras.Sequential([keras.layers.Dense(1)])
model.compile("sgd", "mse")
x = np.ones((640, 2), "float32")
leaves = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: subprocess.Popen(["setsid", "sleep", "3000"]))
model.fit(x, x[:, :1], epochs={epochs}, batch_size=32, callbacks=[leaves])
"""


@pytest.mark.parametrize("backend", ["ray", "local"])
def test_tasks_get_the_commands_environment_and_what_they_leave_behind_is_ended(here: Machine, backend: str) -> None:
    here.up(ONLY_UP="1")
    (here.folder / "train.py").write_text(JOB.format(epochs=2))
    done = here.call("run", "train.py", "--mode", "single", "--backend", backend, "--run-id", "mine", "-v", MINE="5")
    assert done.returncode == 0, done.stderr
    assert used(done)
    logs = "".join(path.read_text() for path in (here.folder / "runs" / "mine" / "logs").iterdir())
    assert f"ENVIRONMENT 5 None {here.folder}" in logs
    gone(here, "sleep 3000")


@pytest.mark.parametrize("backend", ["ray", "local"])
def test_a_driver_that_is_killed_leaves_the_machine_ready_and_nothing_else(here: Machine, backend: str) -> None:
    here.up()
    idle = set(marked(here.mark))
    (here.folder / "train.py").write_text(JOB.format(epochs=100_000))
    process = here.start("run", "train.py", "--mode", "sync", "--backend", backend, "--run-id", "killed")
    wait_for(here.folder / "runs" / "killed", process, TRAINS)
    process.kill()
    process.communicate()
    gone(here, "sleep 3000")
    deadline = time.monotonic() + 30
    while (left := others(here, idle)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left
    assert used(here.run("after"))


def others(here: Machine, idle: set[int]) -> list[str]:
    return [name for pid, name in marked(here.mark).items() if pid not in idle and "ray::IDLE" not in name]


def gone(here: Machine, command: str) -> None:
    deadline = time.monotonic() + 30
    while any(command in name for name in marked(here.mark).values()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(command in name for name in marked(here.mark).values())


def test_continuous_integration_neither_keeps_nor_uses_one(here: Machine) -> None:
    refused = here.call("up", CI="true")
    assert refused.returncode == 2
    assert "CI is set" in refused.stderr
    here.up()
    assert "not used: CI is set" in here.run("built", "--backend", "local", CI="true").stderr


ADDRESS = "from orchestrator.cluster.warm.state import keeper_address; print(keeper_address().encode().hex())"
ASK = """
import socket, sys
connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.settimeout(20)
connection.connect(bytes.fromhex(sys.argv[1]))
try:
    connection.send(b'{"ask": "end", "now": true}')
    print("answer", connection.recv(65536))
except (BrokenPipeError, ConnectionResetError):  # closed before or after the question
    print("answer", b"")
"""
TAKE = """
import socket, sys, time
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(bytes.fromhex(sys.argv[1]))
listener.listen()
print("taken", flush=True)
time.sleep(300)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="a second user is made by root")
def test_another_user_is_refused_and_believed_nothing(here: Machine) -> None:
    env = os.environ | here.env
    address = subprocess.run(
        [sys.executable, "-P", "-c", ADDRESS], env=env, capture_output=True, text=True, check=True
    ).stdout.strip()
    other = [*as_another_user(), sys.executable, "-c"]
    with subprocess.Popen([*other, TAKE, address], stdout=subprocess.PIPE, text=True, cwd="/") as squatter:
        assert squatter.stdout is not None
        assert squatter.stdout.readline() == "taken\n"
        done = here.run("alone", "--backend", "local")
        assert done.returncode == 0
        assert "has taken its address" in done.stderr
        refused = here.call("up")
        assert refused.returncode == 4
        assert "has taken its address" in refused.stderr
        squatter.kill()
    here.up()
    asked = subprocess.run([*other, ASK, address], capture_output=True, text=True, timeout=60, check=False, cwd="/")
    assert asked.stdout == "answer b''\n", asked.stderr
    assert here.call("up").returncode == 0
