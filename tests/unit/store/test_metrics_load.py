"""The store keeps up with a large run in bounded memory, and a killed driver loses two seconds of data at most."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from orchestrator.store.metrics import Metrics
from workers.messages import Task
from workers.news import CallTiming, GpuSample, HostSample, ReplicaState, ReplicaStatus, StepBatch

# Not marked `unit`: it takes seconds, and all marked tests together should take thirty.

REPLICAS, STEPS_PER_SECOND = 16, 1000
GPUS = tuple(GpuSample(f"GPU-{i}", "H100", 90.0, 1 << 30, 1 << 36, 1 << 30, 300.0, 60.0) for i in range(8))


def second_of_news(second: int) -> list[ReplicaStatus]:
    """Statuses of 16 replicas for one second: each has ten calls with a timing each, and a sample with eight GPUs."""
    steps = STEPS_PER_SECOND // REPLICAS // 10
    news = []
    for worker in range(REPLICAS):
        batches, timings = [], []
        for call in range(10):
            first = second * STEPS_PER_SECOND + worker * steps * 10 + call * steps + 1
            numbers = np.arange(first, first + steps)
            clock = second + call / 10 + np.linspace(0, 0.1, steps)
            batches.append(StepBatch("r", worker, numbers, clock, np.ones(steps), np.ones(steps), 0.1, {"loss": 1.0}))
            timings.append(CallTiming("r", worker, first, steps, float(clock[-1]), 0.1, 0.1, 0.01, 0.01, 0.0))
        sample = HostSample(float(second), 50.0, 1 << 30, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, GPUS)
        news.append(
            ReplicaStatus(
                Task("worker", worker),
                ReplicaState.TRAINING,
                pid=worker,
                news=(*batches, *timings, sample),
            )
        )
    return news


STORING = """
import resource, sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from orchestrator.store.metrics import MetricsWriter
from tests.unit.store.test_metrics_load import second_of_news
store = MetricsWriter(Path(sys.argv[1]))
spent = 0.0
for second in range(61):
    if second == 1:
        before, spent = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0.0
    news = second_of_news(second)
    begun = time.process_time()
    for status in news:
        store.add(1, status)
    spent += time.process_time() - begun
store.close()
print(spent / 60, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_sixteen_replicas_at_a_thousand_steps_a_second(tmp_path: Path) -> None:
    """Storing a minute of news takes a few seconds of one core, and memory does not grow."""
    command = [sys.executable, "-c", STORING.format(root=str(Path(__file__).parents[3])), tmp_path]
    spent, grown = map(float, subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split())
    assert spent < 0.15, f"{spent:.3f} s of CPU for a second of news"
    assert grown < 20_000, f"{grown} KiB more"
    metrics = Metrics(tmp_path)
    steps = STEPS_PER_SECOND // REPLICAS // 10 * 10 * REPLICAS
    assert metrics.column("SELECT COUNT(*) FROM steps") == [steps * 61]
    assert metrics.column("SELECT COUNT(*) FROM gpu_samples") == [REPLICAS * 8 * 61]
    metrics.close()


WRITING = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from orchestrator.store.metrics import MetricsWriter
from tests.unit.store.test_metrics_load import second_of_news
store = MetricsWriter(Path(sys.argv[1]))
second = 0
while True:  # at the rate of a real run: the news of a tenth of a second at a time
    news = second_of_news(second)
    for part in range(10):
        store.event(1, "tick", at=time.time())
        for status in news[part::10]:
            store.add(1, status)
        time.sleep(0.1)
    second += 1
"""


def test_a_killed_driver_loses_two_seconds_at_most(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[3])
    child = subprocess.Popen([sys.executable, "-c", WRITING.format(root=root), tmp_path])
    reader = None
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "metrics.db").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(2.0)
        reader = Metrics(tmp_path)  # a connected reader, as of `regatta watch`
        assert reader.column("SELECT COUNT(*) FROM events")[0] > 0
        time.sleep(1.7)
    finally:
        child.send_signal(signal.SIGKILL)
        killed = time.time()
        child.wait()
    if reader is not None:
        reader.close()
    metrics = Metrics(tmp_path)
    (last,) = metrics.column("SELECT MAX(json_extract(detail, '$.at')) FROM events")
    assert killed - last < 2.0
    assert metrics.column("PRAGMA integrity_check") == ["ok"]
    metrics.close()
    with sqlite3.connect(tmp_path / "metrics.db") as database:  # the driver of a resumed run can write to it
        database.execute("INSERT INTO events VALUES (0, 2, 'resumed', NULL, '{}')")
