"""The network between two hosts is cut: the hang is detected, and the run continues over another network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from orchestrator.results import RunResult
from tests.chaos.checker import check_run
from tests.chaos.test_on_ray import BATCH, INTERVAL, steps_of, wait_for
from tests.integration.hosts import Host, Switch, require_hosts
from tests.integration.local_runs import JOBS
from tests.integration.ray_nodes import REGATTA, Node, cluster_of, private_folders

STEPS = 4000


@contextmanager
def cut(host: Host, network: str) -> Iterator[None]:
    """Drop all packets from `host` to `network`, without an error on either side."""
    what = ("iif", "lo", "to", network, "blackhole")
    host.run("ip", "rule", "add", "pref", "0", *what)
    try:
        yield
    finally:
        host.run("ip", "rule", "del", *what)


@pytest.mark.slow
def test_a_partition_between_the_tasks(tmp_path: Path) -> None:
    """The network that the tasks use is cut permanently; Ray's own keeps working."""
    require_hosts()
    shutil.copy(JOBS / "exact.py", tmp_path)
    run = tmp_path / "run"
    with ExitStack() as stack:
        front, back = stack.enter_context(Switch(0)), stack.enter_context(Switch(1))
        hosts = [stack.enter_context(front.host(name, back, hidden=private_folders())) for name in ("one", "two")]
        head = stack.enter_context(cluster_of(hosts, [Node(cpus=4), Node(cpus=4)], tmp_path))
        command = subprocess.Popen(
            hosts[0].command(
                *REGATTA, "run", "exact.py", "--address", head.gcs, "--workers", "2", "--placement", "one-per-host",
                "--interface", "10.77.1.0/24", "--batch-size", str(BATCH), "--steps-per-call", "20",
                "--samples", str(STEPS * 2 * BATCH), "--eval-every", str(STEPS * BATCH),
                "--checkpoint-every", str(INTERVAL * 2 * BATCH), "--hang-seconds", "4", "--max-restarts", "6",
                "--out", str(run), "--json", cwd=tmp_path,
            ),
            env=os.environ | head.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        wait_for(run, command, steps_of(1, 300))
        with cut(hosts[1], "10.77.1.0/24"):
            struck = time.time()
            out, text = command.communicate(timeout=300)
    assert command.returncode == 0, text
    result = RunResult.model_validate(json.loads(out))
    history = check_run(run, result, STEPS, INTERVAL)
    first, *_ = history.of("failure")
    assert first.detail["failure"] in ("hung", "peer"), first  # a task may report the lost peer itself
    assert first.time - struck < 20
    assert result.attempts == 2
