"""A real local Ray exports a run's figures: what Prometheus would scrape is scraped."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from orchestrator.sinks.ray_metrics import COUNTERS, GAUGES

DASHBOARD = Path(__file__).parents[3] / "orchestrator" / "templates" / "grafana.json"

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("aiohttp", "opencensus", "prometheus_client")),
    reason="Ray exports metrics with its own extras only: pip install 'ray[default]'",
)

EXPORTING = """
import sys, time, urllib.request
import numpy as np
import ray
from orchestrator.results import Finding
from orchestrator.spec.run import RunSpec
from orchestrator.sinks.ray_metrics import RayMetrics
from workers.messages import Task
from workers.news import *

ray.init("local", num_cpus=1, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False,
         configure_logging=False, object_store_memory=200 << 20)
worker, gpu = Task("worker", 0), GpuSample("GPU-1", "H100", 30.0, 5, 10, None, None, None)
for mode in ("sync", "async"):
    steps = StepBatch(mode, 0, np.arange(1, 5), np.arange(4.0), np.full(4, 0.25), np.ones(4), 0.1, {})
    sink = RayMetrics(RunSpec.make({"job": "digits", "mode": mode}), f"run-{mode}")
    sink.observe(ReplicaStatus(worker, ReplicaState.TRAINING, (LegStarted(mode, 10, 64, 5), steps,
        CallTiming(mode, 0, 4, 4, 1.0, 0.1, 0.1, 0.02, 0.01, 0.0),
        Evaluation(Stamp(mode, 1, 64, 1.0), {"val_accuracy": 0.9}, 0.1),
        HostSample(1.0, 50.0, 1000, 1.0, 1.0, 10.0, 20.0, None, None, (gpu,)))))
    sink.add_finding(Finding(kind="nan", symptom="x", action="rolled back to step 5"))
port = ray.nodes()[0]["MetricsExportPort"]
deadline = time.monotonic() + 300
while time.monotonic() < deadline:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = [line for line in answer.read().decode().splitlines() if line.startswith("ray_regatta_")]
    if len(lines) >= int(sys.argv[1]):
        break
    time.sleep(1)
print("\\n".join(lines))
ray.shutdown()
"""


@cache
def scraped() -> tuple[str, ...]:
    child = subprocess.run(
        [sys.executable, "-P", "-c", EXPORTING, str(2 * len(GAUGES | COUNTERS))],
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    return tuple(line for line in child.stdout.splitlines() if line.startswith("ray_regatta_"))


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("loss", {}, 0.25),
        ("evaluation", {"metric": "val_accuracy"}, 0.9),
        ("samples_total", {}, 256),
        ("staleness_updates", {}, 1),
        ("input_wait_ratio", {"task": "worker:0"}, 0.2),
        ("cpu_percent", {"task": "worker:0"}, 50),
        ("memory_bytes", {"task": "worker:0"}, 1000),
        ("network_bytes_per_second", {"task": "worker:0"}, 30),
        ("gpu_percent", {"task": "worker:0", "gpu": "GPU-1"}, 30),
        ("gpu_memory_bytes", {"task": "worker:0", "gpu": "GPU-1"}, 5),
        ("findings_total", {"kind": "nan", "action": "rolled back"}, 1),
        ("samples_per_second", {"task": "worker:0"}, None),
    ],
)
def test_every_figure_of_both_runs_is_exported(name: str, labels: dict[str, str], value: float | None) -> None:
    for mode in ("sync", "async"):
        wanted = {"run_id": f"run-{mode}", "job": "digits", "variant": mode, "seed": "0"} | labels
        lines = [line for line in scraped() if line.startswith(f"ray_regatta_{name}{{")]
        mine = [line for line in lines if all(f'{key}="{text}"' in line for key, text in wanted.items())]
        assert len(mine) == 1, lines
        if value is not None:
            assert float(mine[0].rsplit(" ", 1)[1]) == pytest.approx(value)


def test_the_grafana_dashboard_asks_for_what_is_exported() -> None:
    exported = {line.partition("{")[0] for line in scraped()}
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = {name for panel in panels for t in panel["targets"] for name in re.findall(r"ray_regatta_\w+", t["expr"])}
    assert asked == exported
