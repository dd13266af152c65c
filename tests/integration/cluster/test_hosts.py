"""Three hosts, each with its own address, files and name: placement of tasks, networks between them, lost hosts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.hosts import Host, Switch, require_hosts
from tests.integration.processes import counted, wait_for
from tests.integration.ray_nodes import (
    REGATTA,
    Head,
    Node,
    cluster_of,
    code_folders,
    join,
    private_folders,
    regatta_on,
)
from tests.integration.recorded_runs import rows

JOB = """
from jobs.digits import Digits


class Mine(Digits):
    pass
"""
NODES = (
    Node(cpus=4, labels={"kind": "head"}),
    Node(cpus=4, gpus=1, labels={"kind": "worker", "accelerator": "fake"}),
    Node(cpus=4, labels={"kind": "worker"}),
)


@dataclass(frozen=True)
class Three:
    hosts: tuple[Host, ...]
    head: Head
    folder: Path
    new_host: Callable[[], Host]
    """One more machine, which is no part of the cluster yet."""
    logs: Path

    def regatta(self, *arguments: str, timeout: float = 200) -> subprocess.CompletedProcess[str]:
        """Typed on the head, in the user's folder; the other hosts have neither it nor our code."""
        return regatta_on(self.hosts[0], *arguments, cwd=self.folder, env=self.head.env, timeout=timeout)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    require_hosts()
    folder = tmp_path_factory.mktemp("hosts")
    (folder / "mine.py").write_text(JOB)
    with ExitStack() as stack:
        front, back = stack.enter_context(Switch(0)), stack.enter_context(Switch(1))
        bare = [*private_folders(), *code_folders(), folder]

        def host(number: int, hidden: Sequence[Path] = bare) -> Host:
            return stack.enter_context(front.host(f"host{number}", back, hidden=hidden))

        hosts = (host(1, private_folders()), host(2), host(3))
        logs = tmp_path_factory.mktemp("ray")
        head = stack.enter_context(cluster_of(hosts, NODES, logs))
        yield Three(hosts, head, folder, lambda: host(4), logs)


def placed(three: Three, *arguments: str) -> dict[str, str]:
    """Host by task, from the output of `plan`."""
    done = three.regatta("plan", "digits", "--address", "auto", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return {f"{task['type']}:{task['index']}": task["host"]["name"] for task in json.loads(done.stdout)["tasks"]}


@pytest.mark.slow
def test_a_comparison_over_three_hosts(three: Three) -> None:
    """The job is on the head alone; placed one worker per host, both modes reach the target as on one host.

    The network between the tasks is named, and is the one that carries the training.
    """
    before = [(host.received("eth0"), host.received("eth1")) for host in three.hosts]
    done = three.regatta(
        "compare", "mine.py:Mine", "--address", three.head.gcs, "--workers", "3", "--placement", "one-per-host",
        "--interface", "10.77.1.0/24", "--seeds", "1", "--modes", "sync,async", "--out", "compared", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for mode in json.loads(done.stdout)["modes"].values():
        (run,) = mode["runs"]
        assert run["target"]["reached"], run
        assert run["final"]["val_accuracy"] >= 0.95
        assert run["tasks"]["worker"] == 3
    for host, (_, back) in zip(three.hosts, before, strict=True):
        assert host.received("eth1") - back > 4 << 20
    wrong = three.regatta("run", "digits", "--address", three.head.gcs, "--interface", "eth7")
    assert wrong.returncode == 4
    there = r"host\d has no address on 'eth7'. It has lo \(.*eth0 \(10\.77\.0\.\d.*eth1 \(10\.77\.1"
    assert re.search(there, wrong.stderr), wrong.stderr


@pytest.mark.slow
def test_a_silent_address_is_replaced(three: Three) -> None:
    """Ray's own network is cut for TensorFlow's ports only, as a firewall might: the other one is found."""
    before = [host.received("eth1") for host in three.hosts]
    what = ("iif", "lo", "ipproto", "tcp", "dport", "15000-32767", "to", "10.77.0.0/24", "prohibit")
    for host in three.hosts[1:]:
        host.run("ip", "rule", "add", "pref", "0", *what)
    try:
        done = three.regatta(
            "run", "digits", "--address", three.head.gcs, "--workers", "3", "--placement", "one-per-host",
            "--samples", "20000", "--eval-every", "20000", "--resources", "evaluator.cpu=0.5",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert all(host.received("eth1") - old > 1 << 20 for host, old in zip(three.hosts[1:], before[1:], strict=True))
    finally:
        for host in three.hosts[1:]:
            host.run("ip", "rule", "del", *what)


def test_where_tasks_would_go_and_why_not(three: Three) -> None:
    """More cases, without hosts, are in tests/unit/plan/test_placement.py."""
    single = placed(three, "--workers", "3", "--placement", "one-per-host")
    assert len({host for task, host in single.items() if task.startswith("worker")}) == 3
    labelled = placed(three, "--workers", "2", "--worker-label", "kind=worker", "--placement", "spread")
    assert {labelled["worker:0"], labelled["worker:1"]} == {"host2", "host3"}
    gpu = placed(three, "--workers", "1", "--gpus-per-worker", "1", "--mode", "async", "--placement", "spread")
    assert gpu["worker:0"] == "host2"
    assert gpu["ps:0"] != "host2"
    large = three.regatta("plan", "digits", "--address", "auto", "--mode", "async", "--resources", "ps.cpu=5")
    assert large.returncode == 2
    assert "No host fits ps:0, which needs 5 CPUs" in large.stderr
    assert "4 of 4 CPUs left" in large.stderr


@pytest.mark.slow
def test_hosts_that_die_and_one_that_comes(three: Three) -> None:
    """With --min-workers the run continues without the first lost host, grows when another host is added, and names the
    lost worker when too few are left. Runs last, because it changes the cluster."""
    folder = three.folder / "killed"
    child = subprocess.Popen(
        three.hosts[0].command(
            *REGATTA, "run", "digits", "--address", three.head.gcs, "--workers", "3", "--placement", "one-per-host",
            "--min-workers", "2", "--checkpoint-seconds", "2", "--checkpoints", str(three.logs), "--out", str(folder),
            "--samples", "1000000000", "--target", "val_accuracy>=2", cwd=three.folder,
        ),
        env=os.environ | three.head.env,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    wait_for(folder, child, counted("SELECT COUNT(*) FROM events WHERE kind = 'checkpoint'"))
    three.hosts[2].kill()
    killed = time.monotonic()
    wait_for(folder, child, counted("SELECT COUNT(*) FROM steps WHERE attempt = 2"))
    assert time.monotonic() - killed < 180  # 61 s were seen where both cores were busy with other tests
    ((detail,),) = rows(folder, "SELECT detail FROM events WHERE kind = 'goes_on'")
    assert json.loads(detail)["step"] > 0
    fresh = three.new_host()
    join(fresh, Node(cpus=4), three.head, three.logs)
    wait_for(folder, child, counted("SELECT COUNT(*) FROM steps WHERE attempt = 3"))
    fresh.kill()
    three.hosts[1].kill()
    _, text = child.communicate(timeout=240)
    assert child.returncode == 4, text
    last = text.splitlines()[-1]
    assert re.search(r"worker:\d failed: its host host[24] \(10\.77\.0\.[24]\) does not answer", last), text
    assert "there is room for 1 worker, and --min-workers requires 2" in last
    assert "continues with 2 of 3 workers" in text
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    assert (result["status"], result["attempts"], result["fewest_workers"]) == ("failed", 3, 2)
