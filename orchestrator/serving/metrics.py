"""Prometheus metrics under TensorFlow Serving's names, with those that only this server has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_MICROSECONDS = tuple(10 * 1.8**power for power in range(33))
"""TensorFlow Serving's buckets: from 10 microseconds to 20 minutes."""
_ROWS = tuple(2**power for power in range(11))


class Metrics:
    """Counts requests and batches; `page` is what Prometheus reads."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Gauge, Histogram, disable_created_metrics

        disable_created_metrics()
        self._registry = CollectorRegistry()
        self._requests: dict[tuple[str, str], int] = {}
        self._registry.register(self)
        self._latency = Histogram(
            ":tensorflow:serving:request_latency",
            "Wall time of a request, in microseconds.",
            ("model_name", "API", "entrypoint", "status", "version"),
            buckets=_MICROSECONDS,
            registry=self._registry,
        )
        self._rows = Histogram(
            ":regatta:serving:batch_rows",
            "Rows of a call of the model.",
            ("model_name", "version"),
            buckets=_ROWS,
            registry=self._registry,
        )
        self._waiting = Gauge(
            ":regatta:serving:requests_waiting", "Requests without an answer.", ("model_name",), registry=self._registry
        )

    def request(self, model: str, version: int, api: str, entrypoint: str, status: str, seconds: float) -> None:
        """Count an answered request. `model` is the served name, never one that a client made up."""
        key = (model, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        self._latency.labels(model, api, entrypoint, status, str(version)).observe(seconds * 1e6)

    def batch(self, model: str, version: int, rows: int) -> None:
        """Count a call of the model."""
        self._rows.labels(model, str(version)).observe(rows)

    def waiting(self, model: str, count: int) -> None:
        """Set how many requests have no answer yet."""
        self._waiting.labels(model).set(count)

    def page(self) -> bytes:
        """The page in Prometheus' text format."""
        from prometheus_client import generate_latest

        return bytes(generate_latest(self._registry))

    def collect(self) -> Iterator[Any]:
        """The counter of requests: the client library would add `_total` to TensorFlow Serving's name."""
        from prometheus_client import Metric

        metric = Metric(":tensorflow:serving:request_count", "Answered requests.", "unknown")
        metric.type = "counter"
        for (model, status), count in self._requests.items():
            metric.add_sample(metric.name, {"model_name": model, "status": status}, count)
        yield metric
