"""Event files contain a run's news, as read by TensorBoard's own reader, and are written without TensorFlow."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.compat.proto.event_pb2 import Event

from orchestrator.results import Finding, RunResult
from orchestrator.sinks.tensorboard import TensorBoard
from orchestrator.spec.run import RunSpec
from orchestrator.spec.variants import file_name
from tests import made
from workers.messages import Task
from workers.news import Evaluation, GpuSample, HostSample, LegStarted, ReplicaStatus, Stamp, StepBatch

W0 = Task("worker", 0)


def status(**news: Any) -> ReplicaStatus:
    news = {name: value if isinstance(value, tuple) else (value,) for name, value in news.items()}
    return made.status(W0, *made.in_order(**news))


def batch(first: int, steps: int, clock: float, loss: float, *, stale: float | None = None, **logs: float) -> StepBatch:
    numbers = np.arange(first, first + steps)
    staleness = None if stale is None else np.full(steps, stale)
    clocks = clock + np.arange(steps) * 0.01
    return StepBatch("r", 0, numbers, clocks, np.full(steps, loss), staleness, 0.1, {"loss": loss, **logs})


def events(run: Path) -> Iterator[Event]:
    """Every record of the run's only event file."""
    (file,) = (run / "tensorboard").glob("events.out.tfevents.*")
    data = file.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for event in events(run):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def opened(path: Path, mode: str = "sync", **fields: Any) -> TensorBoard:
    path.mkdir(exist_ok=True)
    board = TensorBoard(RunSpec.make({"job": "digits", "mode": mode, **fields}), path)
    board.observe(status(leg_started=LegStarted("r", 1000, 64, 100)))
    return board


def closed(board: TensorBoard) -> None:
    fields: dict[str, Any] = {"run_id": "r", "job": "digits", "mode": "sync", "seed": 0, "status": "succeeded"}
    board.close(RunResult(**fields, stop_reason="budget", tasks={}))


def test_losses_evaluations_and_speed_over_samples(tmp_path: Path) -> None:
    board = opened(tmp_path)
    second = replace(batch(21, 20, 0.2, 1.0, accuracy=0.3), learning_rate=0.01)
    board.observe(status(batches=(batch(1, 20, 0.0, 2.0, accuracy=0.1), second)))
    board.observe(
        status(evaluations=Evaluation(Stamp("r", 40, 2560, 0.4), {"val_loss": 0.5, "val_accuracy": 0.9}, 0.1))
    )
    closed(board)
    found = scalars(tmp_path)
    assert found["train/loss"] == [(20 * 64, 2.0), (40 * 64, 1.0)]
    assert [round(value, 6) for _, value in found["train/accuracy"]] == [0.1, 0.3]
    assert found["train/learning_rate"] == [(40 * 64, pytest.approx(0.01))]
    assert found["speed/samples_per_s"][0][1] == pytest.approx(6400)
    assert found["evaluation/val_loss"] == [(2560, 0.5)]
    assert found["evaluation/val_accuracy"][0][0] == 2560
    walls = [event.wall_time for event in events(tmp_path) if any(v.tag == "train/loss" for v in event.summary.value)]
    assert walls[1] - walls[0] == pytest.approx(0.2), "wall time is the training clock"


def test_short_calls_share_one_point(tmp_path: Path) -> None:
    board = opened(tmp_path)
    for step in range(100):
        board.observe(status(batches=batch(step + 1, 1, step * 0.005, float(step))))
    closed(board)
    points = scalars(tmp_path)["train/loss"]
    assert 4 <= len(points) <= 6
    assert points[-1][0] == 100 * 64


def test_a_loss_that_is_not_finite_is_written_unchanged(tmp_path: Path) -> None:
    board = opened(tmp_path)
    board.observe(status(batches=batch(1, 20, 0.0, math.nan)))
    closed(board)
    assert math.isnan(scalars(tmp_path)["train/loss"][0][1])


def test_utilization_of_every_task_is_written_once_training_started(tmp_path: Path) -> None:
    gpu = GpuSample("GPU-1", "H100", 88.0, 2 << 30, 4 << 30, None, 300.0, 60.0)
    sample = HostSample(123.0, 71.0, 1 << 30, 1.0, 1.0, 2 << 20, 4 << 20, None, None, (gpu,))
    nothing = HostSample(124.0, None, None, None, None, None, None, None, None)
    early = TensorBoard(RunSpec.make({"job": "digits"}), tmp_path)
    early.observe(status(samples=sample))
    closed(early)
    assert scalars(tmp_path) == {}
    board = opened(tmp_path / "run")
    board.observe(status(samples=(sample, nothing)))
    closed(board)
    assert {tag: values[0][1] for tag, values in scalars(tmp_path / "run").items()} == {
        "utilization/cpu_percent/worker:0": 71.0,
        "utilization/memory_gib/worker:0": 1.0,
        "utilization/network_sent_mib_per_s/worker:0": 2.0,
        "utilization/network_received_mib_per_s/worker:0": 4.0,
        "utilization/gpu_percent/worker:0/0": 88.0,
        "utilization/gpu_memory_gib/worker:0/0": 2.0,
    }


def test_staleness_is_a_histogram(tmp_path: Path) -> None:
    board = opened(tmp_path, "async")
    for i in range(50):
        board.observe(status(batches=batch(1 + 10 * i, 10, i * 0.1, 1.0, stale=float(i % 3))))
    closed(board)
    histograms = [v.histo for e in events(tmp_path) for v in e.summary.value if v.tag == "staleness/updates"]
    assert len(histograms) == 3, "every two seconds of training, and the rest"
    assert sum(h.num for h in histograms) == 500
    counts = sum(np.array(h.bucket[:3]) for h in histograms)
    assert counts.tolist() == [170, 170, 160]
    assert list(histograms[0].bucket_limit[:3]) == [0.5, 1.5, 2.5]
    assert scalars(tmp_path)["staleness/mean"][0][1] == pytest.approx(1, abs=0.1)


def test_a_very_stale_update_is_in_the_last_bucket(tmp_path: Path) -> None:
    board = opened(tmp_path, "async")
    board.observe(status(batches=(batch(1, 10, 0.0, 1.0, stale=0.0), batch(11, 1, 0.2, 1.0, stale=5000.0))))
    closed(board)
    (histogram,) = (v.histo for e in events(tmp_path) for v in e.summary.value if v.tag == "staleness/updates")
    assert len(histogram.bucket) < 40
    assert (sum(histogram.bucket), histogram.max, histogram.bucket[-1]) == (11, 5000.0, 1)


def test_spec_findings_and_outcome_are_text(tmp_path: Path) -> None:
    board = opened(tmp_path, params={"a|b": "x\ny"})
    board.add_finding(Finding(kind="nan", symptom="the loss is nan", evidence="0.5 before", action="stopped"))
    closed(board)
    texts = {
        value.tag: value.tensor.string_val[0].decode()
        for event in events(tmp_path)
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "text"
    }
    assert "| batch_size | `32` |" in texts["spec"]
    assert texts["spec"].count("\n") == len(RunSpec.make({"job": "x"}).resolved()) + 1, "a line per field"
    assert texts["findings/nan"] == "**the loss is nan** (stopped)\n\n0.5 before"
    assert texts["outcome"] == "succeeded: budget"


def test_the_file_can_be_read_while_the_run_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("orchestrator.sinks.tensorboard.time.monotonic", lambda: now[0])
    board = opened(tmp_path)
    board.observe(status(batches=batch(1, 20, 0.0, 2.0)))
    assert "train/loss" not in scalars(tmp_path)
    now[0] = 2.5
    board.observe(status(batches=batch(21, 20, 0.2, 1.0)))
    assert len(scalars(tmp_path)["train/loss"]) == 2
    closed(board)


READING = """
import json, sys, types
sys.modules["tensorboard.compat.notf"] = types.ModuleType("notf")  # TensorBoard's switch for its stub of TensorFlow
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
runs = EventMultiplexer().AddRunsFromDirectory(sys.argv[1]).Reload()
print(json.dumps({name: {"scalars": tags["scalars"], "histograms": tags["histograms"], "tensors": tags["tensors"],
    "loss": [e.step for e in runs.Scalars(name, "train/loss")]} for name, tags in runs.Runs().items()}))
"""
WRITING = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.unit.sinks.test_tensorboard import batch, closed, opened, status
for mode in ("sync", "async"):
    board = opened(Path(sys.argv[1], mode), mode)
    stale = None if mode == "sync" else 1.0
    board.observe(status(batches=(batch(1, 20, 0.0, 2.0, stale=stale), batch(21, 20, 0.2, 1.0, stale=stale))))
    closed(board)
print(sorted({{"tensorflow", "keras"}} & set(sys.modules)))
"""


def test_tensorboard_reads_both_modes_and_tensorflow_is_not_needed(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[3])
    writing = [sys.executable, "-c", WRITING.format(root=root), tmp_path]
    wrote = subprocess.run(writing, capture_output=True, text=True, check=True)
    assert wrote.stdout.strip() == "[]"
    read = subprocess.run([sys.executable, "-c", READING, tmp_path], capture_output=True, text=True, check=True)
    runs = json.loads(read.stdout)
    assert set(runs) == {"sync/tensorboard", "async/tensorboard"}
    for name, run in runs.items():
        assert run["loss"] == [20 * 64, 40 * 64]
        assert {"train/loss", "speed/samples_per_s"} <= set(run["scalars"])
        assert {"spec", "outcome"} <= set(run["tensors"])
        assert run["histograms"] == (["staleness/updates"] if name.startswith("async") else [])


def test_runs_of_a_comparison_have_short_names(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

    comparison = tmp_path / "digits-compare-20261129-020820-6d01"
    for variant, mode in (("sync", "sync"), ("sync --batch-size 64", "sync"), ("async", "async")):
        for seed in (0, 1):
            run = comparison / "runs" / f"{comparison.name}-{variant}-s{seed}"
            run.mkdir(parents=True)
            (comparison / "comparison.yaml").touch()
            spec = RunSpec(job="digits", mode=mode, seed=seed, variant=variant)
            if seed == 0:  # a link from before the comparison was resumed
                old = comparison / "tensorboard" / file_name(variant) / "seed0"
                old.parent.mkdir(parents=True)
                old.symlink_to("nowhere")
            TensorBoard(spec, run)
    shown = EventMultiplexer()
    shown.AddRunsFromDirectory(str(comparison / "tensorboard"))
    variants = ("async", "sync", "sync-batch-size-64")
    assert set(shown.Runs()) == {f"{variant}/seed{seed}" for variant in variants for seed in (0, 1)}


def test_a_run_alone_makes_no_links(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "digits"
    run.mkdir(parents=True)
    TensorBoard(RunSpec(job="digits"), run)
    assert not (tmp_path / "tensorboard").exists()
