"""TensorBoard event files of a run: losses, evaluations, utilization, staleness, findings, and the spec as text.

They are written with TensorBoard's own record writer and messages, which do not need TensorFlow. The x-axis is
training samples and the wall time is the run's clock, so that runs of different modes can be compared in both views.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.results import Finding, RunResult
from orchestrator.spec.run import RunSpec
from orchestrator.spec.variants import file_name
from orchestrator.store.directory import COMPARISON_SPEC, TENSORBOARD
from workers import files
from workers.messages import Task
from workers.news import Evaluation, HostSample, LegStarted, ReplicaStatus, StepBatch

SHORTEST_POINT, LONGEST_POINT = 0.1, 1.0
"""Bounds of the interval, in seconds, that one point of the loss curve covers: a fiftieth of the run's clock."""
FLUSH_SECONDS = 2.0
HISTOGRAM_SECONDS = 2.0


class TensorBoard:
    """Writes one run's event file."""

    def __init__(self, spec: RunSpec, run: Path) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        folder = run / TENSORBOARD
        folder.mkdir(exist_ok=True)
        _link(run, spec)
        name = f"events.out.tfevents.{int(time.time())}.{platform.node() or 'localhost'}.{os.getpid()}.regatta"
        self._writer = RecordWriter(files.create(folder / name))
        self._mode = spec.mode
        self._leg: LegStarted | None = None
        self._began = time.time()
        """Time at which the run's clock was 0, in seconds since the epoch."""
        self._samples = 0
        self._points: list[StepBatch] = []
        self._stale: list[float] = []
        self._stale_since = 0.0
        self._flushed = time.monotonic()
        self._put(self._began, [], file_version="brain.Event:2")
        self._text("spec", _as_markdown(spec.resolved()))

    def observe(self, status: ReplicaStatus) -> None:
        for news in status.news:
            match news:
                case LegStarted():
                    if self._leg is None:  # after a rollback, the run's clock continues
                        self._began = time.time()
                    self._leg = news
                case StepBatch():
                    self._add(news)
                case Evaluation():
                    self._evaluated(news)
                case HostSample():
                    self._sampled(status.task, news)
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self._flush()

    def add_finding(self, finding: Finding) -> None:
        self._text(f"findings/{finding.kind}", f"**{finding.symptom}** ({finding.action})\n\n{finding.evidence}")

    def close(self, result: RunResult) -> None:
        self._write_points()
        self._write_staleness()
        self._text("outcome", f"{result.status}: {result.stop_reason}")
        self._writer.close()

    def _add(self, batch: StepBatch) -> None:
        self._points.append(batch)
        if batch.staleness is not None:
            self._stale += batch.staleness.tolist()
        point = min(max(SHORTEST_POINT, batch.clock[-1] / 50), LONGEST_POINT)
        if batch.clock[-1] - self._points[0].clock[0] >= point or len(self._points) > 1000:
            self._write_points()
        if batch.clock[-1] - self._stale_since >= HISTOGRAM_SECONDS:
            self._write_staleness()
            self._stale_since = float(batch.clock[-1])

    def _write_points(self) -> None:
        """Write a point: means over the steps since the last one."""
        batches, self._points = self._points, []
        if not batches or self._leg is None:
            return
        steps = sum(len(batch.steps) for batch in batches)
        clock = max(float(batch.clock[-1]) for batch in batches)
        step = max(int(batch.steps.max()) for batch in batches) - self._leg.steps_before
        self._samples = self._leg.samples_before + step * self._leg.global_batch
        values = {"train/loss": float(np.concatenate([batch.losses for batch in batches]).mean())}
        for name in batches[-1].logs:
            if name != "loss":
                values[f"train/{name}"] = sum(b.logs.get(name, math.nan) * len(b.steps) for b in batches) / steps
        if (rate := batches[-1].learning_rate) is not None:
            values.setdefault("train/learning_rate", rate)
        began = min(float(batch.clock[0]) for batch in batches)
        if clock > began and steps > 1:
            values["speed/samples_per_s"] = (steps - 1) * self._leg.global_batch / (clock - began)
        self._scalars(self._began + clock, values)

    def _write_staleness(self) -> None:
        values, self._stale = self._stale, []
        if values:
            self._scalars(None, {"staleness/mean": sum(values) / len(values)})
            self._put(time.time(), [self._summary.Value(tag="staleness/updates", histo=_histogram(values))])

    def _evaluated(self, evaluation: Evaluation) -> None:
        values = {f"evaluation/{name}": value for name, value in evaluation.metrics.items()}
        self._scalars(self._began + evaluation.stamp.clock, values, evaluation.stamp.samples)

    def _sampled(self, task: Task, sample: HostSample) -> None:
        if self._leg is None:  # while launching, there is no position on an axis of samples
            return
        values: dict[str, float | None] = {
            f"cpu_percent/{task}": sample.cpu_percent,
            f"memory_gib/{task}": None if sample.rss_bytes is None else sample.rss_bytes / 2**30,
            f"network_sent_mib_per_s/{task}": _mib(sample.net_sent_per_s),
            f"network_received_mib_per_s/{task}": _mib(sample.net_received_per_s),
        }
        for number, gpu in enumerate(sample.gpus):
            values[f"gpu_percent/{task}/{number}"] = gpu.utilization_percent
            values[f"gpu_memory_gib/{task}/{number}"] = (
                None if gpu.memory_used_bytes is None else gpu.memory_used_bytes / 2**30
            )
        self._scalars(sample.time, {f"utilization/{tag}": v for tag, v in values.items() if v is not None})

    def _scalars(self, wall: float | None, values: Mapping[str, float], samples: int | None = None) -> None:
        put = [self._summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._put(time.time() if wall is None else wall, put, samples)

    def _text(self, tag: str, markdown: str) -> None:
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING

        value = self._summary.Value(tag=tag, tensor=TensorProto(dtype=DT_STRING, string_val=[markdown.encode()]))
        value.metadata.plugin_data.plugin_name = "text"
        self._put(time.time(), [value])

    def _put(self, wall: float, values: Sequence[Any], samples: int | None = None, **fields: Any) -> None:
        event = self._event(wall_time=wall, step=self._samples if samples is None else samples, **fields)
        if values:
            event.summary.value.extend(values)
        self._writer.write(event.SerializeToString())

    def _flush(self) -> None:
        self._writer.flush()
        self._flushed = time.monotonic()


def _histogram(values: Sequence[float]) -> Any:
    """TensorBoard's histogram message; staleness is an integer, and each value up to 30 has its own bucket."""
    from tensorboard.compat.proto.summary_pb2 import HistogramProto

    found = np.asarray(values)
    edges = np.arange(-0.5, max(2.0, min(found.max() + 1.5, 31.0)))
    if found.max() > edges[-1]:
        edges = np.append(edges, found.max())
    counts, edges = np.histogram(found, edges)
    return HistogramProto(
        min=float(found.min()),
        max=float(found.max()),
        num=float(len(found)),
        sum=float(found.sum()),
        sum_squares=float((found**2).sum()),
        bucket_limit=edges[1:].tolist(),
        bucket=counts.tolist(),
    )


def _mib(bytes_per_s: float | None) -> float | None:
    return None if bytes_per_s is None else bytes_per_s / 2**20


def _link(run: Path, spec: RunSpec) -> None:
    """Give a run of a comparison a short name there: `tensorboard/sync/seed0` links to its folder of event files."""
    comparison = run.parent.parent
    if not (comparison / COMPARISON_SPEC).is_file():
        return
    link = comparison / TENSORBOARD / file_name(spec.variant_name) / f"seed{spec.seed}"
    with suppress(OSError):  # a file system without links
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(Path("..", "..", run.relative_to(comparison), TENSORBOARD))


def _as_markdown(spec: Mapping[str, Any]) -> str:
    lines = ["| field | value |", "|---|---|"]
    for name, value in spec.items():
        shown = str(value).replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {name} | `{shown}` |")
    return "\n".join(lines)
