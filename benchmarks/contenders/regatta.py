"""Regatta, through its Python API: what `regatta run` does after parsing its arguments."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
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
    hops: Mapping[str, float]
    """Seconds of each part of the way from the command to the first step, in order."""


class Regatta:
    needs = ("ray",)

    def __init__(self, mode: str, *, backend: str = "ray", warm: bool = False) -> None:
        """`warm`: on a machine that `regatta up` has made ready, which is not counted."""
        self._mode = mode
        self._backend = backend
        self._warm = warm
        self.name = f"Regatta {mode}" + (", no Ray" if backend == "local" else "") + (", warm" if warm else "")

    def train(self, workload: Workload, cores: Sequence[int] | None = None) -> Trained:
        """Train twice the budget in one run: the first half warms up, like the first epoch of plain `fit`."""
        return self.measure(workload.scaled(2), cores=cores).trained

    def measure(
        self, workload: Workload, *, cores: Sequence[int] | None = None, workers: int = WORKERS, memory: bool = False
    ) -> Seen:
        request = {
            "fields": {**_fields(workload), "mode": self._mode, "workers": workers, "backend": self._backend},
            "cores": list(cores) if cores else None,
            "memory": memory,
            "warm": self._warm,
        }
        with (
            _warm() if self._warm else contextlib.nullcontext(COLD) as env,
            Child(__name__, request, env) as child,
        ):
            answer = child.answer()
            total = child.finish()
            started = child.started
        result, seconds = answer["result"], answer["result"]["seconds"]
        hops = {
            "Python, imports, spec": answer["called"] - started,
            "Ray, places, evaluator": answer["began"] - answer["called"],
            "tasks, model, compiled": seconds["launch"],
            "weights, first call": seconds["to_first_step"] - (answer["began"] - answer["called"]) - seconds["launch"],
        }
        trained = Trained(
            steps=result["steps"] - result["steps"] // 2,
            samples=result["samples"] - result["samples"] // 2,
            seconds=answer["second_half"],
            first_step=answer["called"] - started + result["seconds"]["to_first_step"],
            total=total,
        )
        return Seen(trained, result, answer["pss"], answer["rss"], answer["load"], answer["replicas"], hops)

    @staticmethod
    def compare(workload: Workload, seeds: int) -> float:
        """Run a comparison of both modes; returns the seconds from the command to the end of its process."""
        with Child(__name__, {"fields": {**_fields(workload), "seeds": seeds}}, COLD) as child:
            child.answer()
            return child.finish()


COLD = {"REGATTA_WARM": "0"}


@contextlib.contextmanager
def _warm() -> Iterator[Mapping[str, str]]:
    """The environment of commands on a warm machine, which is up meanwhile and nobody else's."""
    with tempfile.TemporaryDirectory(prefix="w", dir="/tmp") as folder:  # sockets need short paths
        env = {"TMPDIR": folder, "REGATTA_WARM": "1", "CI": ""}
        try:
            with Child(__name__, {"change": "up"}, env) as child:
                child.answer()
            yield env
        finally:
            with Child(__name__, {"change": "down"}, env) as child:
                child.answer()


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
    if "change" in line.request:
        _change(line.request["change"])
        line.answer()
        return
    fields = line.request["fields"]
    job = fields.pop("job")
    if "seeds" in fields:
        _compare(job, fields)
        line.answer()
    else:
        line.answer(**_run(job, fields, line.request))


def _change(wish: str) -> None:
    from orchestrator.cluster.warm import commands

    if wish == "up":
        commands.up(60)
    else:
        commands.down(now=True)


def _compare(job: str, fields: dict[str, Any]) -> None:
    from orchestrator.api import compare
    from orchestrator.spec.resolve import resolve_comparison

    compare(resolve_comparison(job, fields))


def _run(job: str, fields: dict[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    from benchmarks.watching import Beginning, DriverLoad, MemoryPeaks, Pinning, Several
    from orchestrator.api import run
    from orchestrator.spec.job_description import shows_output, tell
    from orchestrator.spec.resolve import resolve_run

    load, memory, began = DriverLoad(), MemoryPeaks(), Beginning()
    watchers = [
        load,
        began,
        *([memory] if request["memory"] else []),
        *([Pinning(request["cores"])] if request["cores"] else []),
    ]
    spec = resolve_run(job, fields)
    said: list[str] = []
    tell.set(said.append)
    shows_output.set(True)
    called = time.monotonic()
    result = run(spec, Several(watchers), resolved=True)
    if request["warm"] != any("uses the warm machine" in line for line in said):
        raise RuntimeError(f"warm: {request['warm']}, but {said}")
    return {
        "called": called,
        "began": began.at,
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
