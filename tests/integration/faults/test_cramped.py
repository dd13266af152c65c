"""What a shared host, a container and a second command do to a run, and that it holds: all of it in one run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.faults.test_bad_day import COMMAND, LONG, SHORT, result_of, start, steps_taken
from tests.integration.processes import wait_for

pytestmark = pytest.mark.slow
RUN_OF_0_1 = Path(__file__).parents[2] / "unit" / "store" / "run_of_0.1"
CRAMPED = """
set -e
mount -t tmpfs -o size=64m tmpfs /dev/shm
mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t tmpfs -o size=64k tmpfs "$HOME"
head -c 100000 /dev/zero > "$HOME/ballast" 2> /dev/null || true
ulimit -n 64
umask 000
exec "$@"
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make such namespaces")
def test_a_container_with_little_of_everything(tmp_path: Path) -> None:
    """The driver is process 1, /dev/shm has 64 MB, cgroups are hidden, home is full, 64 files may be open, and umask
    is 000."""
    home = tmp_path / "home"
    home.mkdir()
    inside = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", CRAMPED, "sh"]
    options = [*SHORT, "--workers", "2", "--out", str(tmp_path / "run"), "--json"]
    env = os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    done = subprocess.run(
        [*inside, *COMMAND, *options], env=env, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240
    )
    if "unshare failed" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "succeeded"
    assert "Traceback" not in done.stderr


def test_of_two_resumes_at_once_one_trains(tmp_path: Path) -> None:
    run = Path(shutil.copytree(RUN_OF_0_1, tmp_path / "preempted"))
    command = [*COMMAND[:-4], "resume", str(run)]
    both = [
        subprocess.Popen(command, cwd=tmp_path, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=240)[1] for process in both]
    (trained, refused) = sorted(zip(both, said, strict=True), key=lambda one: one[0].returncode)
    assert (trained[0].returncode, refused[0].returncode) == (0, 2), said
    assert "is still running" in refused[1]
    assert json.loads((run / "result.json").read_text())["samples"] == 64_000


def test_a_driver_that_is_stopped_for_a_while(tmp_path: Path) -> None:
    """Longer than the hang limit: it was the driver that did not look, and no task that did not work."""
    process = start(tmp_path, *LONG, "--hang-seconds", "3", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for(tmp_path / "run", process, steps_taken)
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(12)
    os.kill(process.pid, signal.SIGCONT)
    time.sleep(3)
    os.kill(process.pid, signal.SIGTERM)
    _, text = process.communicate(timeout=300)
    assert process.returncode == 0, text
    result = result_of(tmp_path)
    assert (result["status"], result["attempts"], result["failures"]) == ("preempted", 1, [])
