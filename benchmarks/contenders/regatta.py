"""Regatta, through its Python API: what `regatta run` does after parsing its arguments."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.child import Child, Line
from benchmarks.contenders import Trained
from benchmarks.workload import WORKERS, Workload

NO_TARGET = "val_accuracy>=2"
"""A metric target that is never reached, so that the whole budget is trained, as by the other contenders."""


@dataclass(frozen=True)
class Seen:
    """All measurements of one run."""

    trained: Trained
    result: Mapping[str, Any]
    """`result.json`."""
    pss: Mapping[str, int]
    """Peak bytes, by task."""
    rss: Mapping[str, int]
    load: tuple[float, float] | None
    """Percent of a core per replica: driver, supervisors."""
    replicas: int


class Regatta:
    needs = ("ray",)

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self.name = f"Regatta {mode}"

    def train(self, workload: Workload, cores: Sequence[int] | None = None) -> Trained:
        """Train twice the budget in one run: the first half warms up, like the first epoch of plain `fit`."""
        return self.measure(workload.scaled(2), cores=cores).trained

    def measure(
        self, workload: Workload, *, cores: Sequence[int] | None = None, workers: int = WORKERS, memory: bool = False
    ) -> Seen:
        request = {
            "fields": {**_fields(workload), "mode": self._mode, "workers": workers},
            "cores": list(cores) if cores else None,
            "memory": memory,
        }
        with Child(__name__, request) as child:
            answer = child.answer()
            total = child.finish()
            started = child.started
        result = answer["result"]
        trained = Trained(
            steps=result["steps"] - result["steps"] // 2,
            samples=result["samples"] - result["samples"] // 2,
            seconds=answer["second_half"],
            first_step=answer["called"] - started + result["seconds"]["to_first_step"],
            total=total,
        )
        return Seen(trained, result, answer["pss"], answer["rss"], answer["load"], answer["replicas"])

    @staticmethod
    def compare(workload: Workload, seeds: int) -> float:
        """Run a comparison of both modes; returns the seconds from the command to the end of its process."""
        with Child(__name__, {"fields": {**_fields(workload), "seeds": seeds}}) as child:
            child.answer()
            return child.finish()


def _fields(workload: Workload) -> dict[str, Any]:
    return {
        "job": workload.job,
        "params": dict(workload.params),
        "batch_size": workload.batch_size,
        "samples": workload.samples,
        "eval_every": workload.samples,  # the others never evaluate; Regatta at least at the end
        "target": NO_TARGET,
        "launch_timeout": 600.0,
        "out": "results",
    }


def main() -> None:
    line = Line()
    fields = line.request["fields"]
    job = fields.pop("job")
    if "seeds" in fields:
        _compare(job, fields)
        line.answer()
    else:
        line.answer(**_run(job, fields, line.request))


def _compare(job: str, fields: dict[str, Any]) -> None:
    from orchestrator.api import compare
    from orchestrator.spec.resolve import resolve_comparison

    compare(resolve_comparison(job, fields))


def _run(job: str, fields: dict[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    from benchmarks.watching import DriverLoad, MemoryPeaks, Pinning, Several
    from orchestrator.api import run
    from orchestrator.spec.resolve import resolve_run

    load, memory = DriverLoad(), MemoryPeaks()
    watchers = [
        load,
        *([memory] if request["memory"] else []),
        *([Pinning(request["cores"])] if request["cores"] else []),
    ]
    spec = resolve_run(job, fields)
    called = time.monotonic()
    result = run(spec, Several(watchers))
    return {
        "called": called,
        "second_half": _second_half(Path(fields["out"])),
        "result": result.to_json(),
        "pss": memory.pss,
        "rss": memory.rss,
        "load": load.percent_per_replica,
        "replicas": load.replicas,
    }


def _second_half(run: Path) -> float:
    """Seconds of training for the second half of a run's steps."""
    from orchestrator.store.metrics import Metrics

    metrics = Metrics(run)
    try:
        ((seconds,),) = metrics.rows(
            "SELECT MAX(clock) - MAX(CASE WHEN step <= last / 2 THEN clock END) "
            "FROM steps, (SELECT MAX(step) AS last FROM steps)"
        )
    finally:
        metrics.close()
    return float(seconds)


if __name__ == "__main__":
    main()
