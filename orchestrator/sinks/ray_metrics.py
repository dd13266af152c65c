"""Exports a run's metrics through Ray, for Ray's dashboard, Prometheus and the shipped Grafana dashboard.

Ray exports them from the driver's node, on the port that it calls `MetricsExportPort`, about every ten seconds. This
requires `ray[default]`; without it these calls do nothing. All names begin with `regatta_`, before which Ray puts
`ray_`. Setting one takes about 1.5 microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.results import Finding, RunResult
from orchestrator.spec.run import RunSpec
from workers.messages import Task
from workers.modes.registry import find
from workers.news import CallTiming, Evaluation, HostSample, LegStarted, ReplicaStatus, StepBatch

_RUN = ("run_id", "job", "variant", "seed")
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "regatta_loss": ("Training loss of the latest step", ()),
    "regatta_evaluation": ("Metrics of the latest evaluation", ("metric",)),
    "regatta_samples_per_second": ("Training throughput over the latest call", ("task",)),
    "regatta_input_wait_ratio": ("Share of a worker's time spent waiting for input", ("task",)),
    "regatta_staleness_updates": ("Mean staleness of the updates of the latest call", ()),
    "regatta_cpu_percent": ("Processor time of the task's processes; 100 is one core", ("task",)),
    "regatta_memory_bytes": ("Resident memory of the task's processes", ("task",)),
    "regatta_network_bytes_per_second": ("Bytes the task's host sends and receives", ("task",)),
    "regatta_gpu_percent": ("Utilisation of a GPU", ("task", "gpu")),
    "regatta_gpu_memory_bytes": ("Memory in use on a GPU", ("task", "gpu")),
}
COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "regatta_samples": ("Training samples", ()),
    "regatta_findings": ("Findings on stability and speed", ("kind", "action")),
}


class RayMetrics:
    """Exports the metrics of one run. Does nothing if Ray is not running in this process."""

    def __init__(self, spec: RunSpec, run_id: str) -> None:
        self._tags = {"run_id": run_id, "job": spec.job, "variant": spec.variant_name, "seed": str(spec.seed)}
        self._workers = spec.workers
        self._metrics: dict[str, Any] | None = None
        self._leg: LegStarted | None = None

    def observe(self, status: ReplicaStatus) -> None:
        for news in status.news:
            match news:
                case LegStarted():
                    self._leg = news
                case StepBatch():
                    self._trained(news)
                case CallTiming():
                    self._timed(news)
                case Evaluation():
                    for name, value in news.metrics.items():
                        self._set("regatta_evaluation", value, metric=name)
                case HostSample():
                    self._sampled(status.task, news)

    def add_finding(self, finding: Finding) -> None:
        self._count("regatta_findings", 1, kind=finding.kind, action=finding.action.split(" to ")[0])

    def close(self, result: RunResult) -> None:
        """Does nothing: gauges keep their last value until Ray drops the driver."""

    def _trained(self, batch: StepBatch) -> None:
        self._set("regatta_loss", float(batch.losses[-1]))
        if batch.staleness is not None:
            self._set("regatta_staleness_updates", float(batch.staleness.mean()))
        if self._leg is not None:
            self._count("regatta_samples", len(batch.steps) * self._leg.global_batch)

    def _timed(self, timing: CallTiming) -> None:
        task = f"worker:{timing.worker}"
        if self._leg is not None and timing.seconds > 0:
            own = find(self._leg.mode)
            per_step = self._leg.global_batch / (self._workers if own is not None and own.lockstep else 1)
            self._set("regatta_samples_per_second", timing.steps * per_step / timing.seconds, task=task)
        if timing.input_wait is not None and timing.busy:
            self._set("regatta_input_wait_ratio", timing.input_wait / timing.busy, task=task)

    def _sampled(self, task: Task, sample: HostSample) -> None:
        name = str(task)
        self._set("regatta_cpu_percent", sample.cpu_percent, task=name)
        self._set("regatta_memory_bytes", sample.rss_bytes, task=name)
        if sample.net_sent_per_s is not None and sample.net_received_per_s is not None:
            network = sample.net_sent_per_s + sample.net_received_per_s
            self._set("regatta_network_bytes_per_second", network, task=name)
        for gpu in sample.gpus:
            self._set("regatta_gpu_percent", gpu.utilization_percent, task=name, gpu=gpu.uuid)
            self._set("regatta_gpu_memory_bytes", gpu.memory_used_bytes, task=name, gpu=gpu.uuid)

    def _set(self, name: str, value: float | None, **tags: str) -> None:
        if value is not None and name in (metrics := self._open()):
            metrics[name].set(float(value), _ascii({**self._tags, **tags}))

    def _count(self, name: str, value: float, **tags: str) -> None:
        if value > 0 and name in (metrics := self._open()):
            metrics[name].inc(value, _ascii({**self._tags, **tags}))

    def _open(self) -> dict[str, Any]:
        """The metrics, created at the first call; none if Ray is not running."""
        if self._metrics is None:
            import ray
            from ray.util.metrics import Counter, Gauge

            self._metrics = {}
            if ray.is_initialized():
                self._metrics = {n: Gauge(n, text, (*_RUN, *tags)) for n, (text, tags) in GAUGES.items()}
                self._metrics |= {n: Counter(n, text, (*_RUN, *tags)) for n, (text, tags) in COUNTERS.items()}
        return self._metrics


def _ascii(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags as Ray accepts them: it raises UnicodeEncodeError for a run in `--out läufe`, so `ä` becomes `\\xe4`."""
    return {name: value.encode("ascii", "backslashreplace").decode() for name, value in tags.items()}
