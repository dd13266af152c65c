"""Shared by all tests: where our packages are, and that nothing of ours outlives the suite."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it puts into the background with SIGINT ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What tests confirm is not noted among what the user has confirmed.
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="regatta-tests-config-")

# Tests start what they use, unless they are about the warm machine: the developer may have one up.
os.environ["REGATTA_WARM"] = "0"

# Children find the same code the tests import, installed or not.
os.environ["PYTHONPATH"] = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH", "")) if p)


ONE_AT_A_TIME = (
    "tests/integration/cluster/",
    "tests/chaos/test_on_ray.py",
    "tests/chaos/test_partition.py",
    "tests/integration/data/test_large_arrays.py",
)
"""Tests of clusters and of hosts in network namespaces, of which a machine has one set; and one that takes most of the
machine's memory, beside which Ray ended the tasks of a cluster."""


UNIT_ONLY = "unit and not slow"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """With `-n`, the tests of a file share their fixtures in one process, and the long ones begin first.

    Files come in the order of their names: chaos, integration, and last the thousands of short ones in unit.
    Marks for `--dist loadgroup` would do, but pytest 9.2 does not show them to xdist 3.8.
    """
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return "machine" if path.startswith(ONE_AT_A_TIME) else path

    return ByFile(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """Keeps the slow cases of unit tests out of `-m unit`, which is for the time between two edits."""
    if config.option.markexpr == "unit":
        config.option.markexpr = UNIT_ONLY


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves files without a unit test unread for `-m unit`, because importing them takes seconds."""
    if config.option.markexpr == UNIT_ONLY and collection_path.match("test_*.py"):
        return None if "mark.unit" in collection_path.read_text() else True
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begins no test after the time that `.ci/run` has for its slow ones; the summary names what was not reached."""
    until = os.environ.get("REGATTA_TESTS_UNTIL")
    if until is not None and time.time() > float(until):
        pytest.skip(f"not reached in the time that .ci/run has: {item.nodeid}")


def regatta(*arguments: str | Path, cwd: Path, timeout: float = 400, **env: str) -> subprocess.CompletedProcess[str]:
    """The command a user would type, run to its end."""
    return subprocess.run(
        [sys.executable, "-P", "-c", "from orchestrator.cli.main import main; main()", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"COLUMNS": "100"} | env,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture
def cli(tmp_path: Path):
    """`regatta` in an empty folder."""

    def call(*arguments: str | Path, cwd: Path = tmp_path, **options: object) -> subprocess.CompletedProcess[str]:
        return regatta(*arguments, cwd=cwd, **options)

    return call
