"""Processes that share one core: TensorFlow would give each server a single thread, and no step would end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.local_runs import SESSION, train


def zygotes() -> list[int]:
    """The process that forks the replicas of these tests."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"workers.supervisor.zygote" in words and SESSION.encode() in words:
            found.append(int(entry.name))
    return found


@pytest.fixture
def one_core() -> Iterator[None]:
    """Restrict all replicas that are started from now on to one core."""
    train("exact.py", mode="sync", workers=1, batch_size=32, samples=32)  # starts the process that forks replicas
    everything = os.sched_getaffinity(0)
    pids = zygotes()
    assert pids
    for pid in pids:
        os.sched_setaffinity(pid, {min(everything)})
    yield
    for pid in pids:
        os.sched_setaffinity(pid, everything)


@pytest.mark.slow
@pytest.mark.usefixtures("one_core")
def test_async_trains_on_one_core() -> None:
    (trained,) = train("exact.py", mode="async", workers=2, ps=1, batch_size=32, samples=32 * 200)
    assert trained.ended is not None
    assert trained.ended.finished.steps == len(trained.steps) == 200
