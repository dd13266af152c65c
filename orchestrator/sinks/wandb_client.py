"""A process that logs runs to Weights & Biases for the driver, which `orchestrator.sinks.wandb` starts.

It reads a line of JSON per order from stdin: `begin` says what the run is called, `leg` where one starts, and `close`
that the run has ended, which is answered once everything is sent. Until then it reads what is new in the run's
metrics.db every other second. A problem is answered at once, and ends the process. `<run>/wandb.json` keeps the run's
id there and how far it was logged, so that a resumed run goes on in the same one.
"""

from __future__ import annotations

import json
import math
import os
import queue
import secrets
import sqlite3
import sys
import threading
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from orchestrator.results import RunResult
from orchestrator.sinks.summary import summary
from orchestrator.store import documents
from orchestrator.store.directory import RESULT
from orchestrator.store.metrics import Metrics
from workers import files

STATE = "wandb.json"
POLL_SECONDS = 2.0
SHORTEST_POINT, LONGEST_POINT = 0.1, 1.0
"""Bounds of the interval, in seconds, that a point of a curve covers: a fiftieth of the run's clock."""
INIT_SECONDS = 30.0


class Refused(Exception):  # noqa: N818 - an answer
    """The run cannot be logged. The message says why."""


def main() -> None:
    """Answer orders until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # for what the client prints
    orders: queue.Queue[dict[str, Any] | None] = queue.Queue()
    threading.Thread(target=_read, args=(orders,), daemon=True).start()
    runs: dict[str, _Logged] = {}
    try:
        client = _import()
        while True:
            try:
                order = orders.get(timeout=POLL_SECONDS)
            except queue.Empty:
                for run in runs.values():
                    run.follow()
                continue
            if order is None:  # the driver was killed, or gave up
                break
            path = order["run"]
            if path not in runs:
                runs[path] = _Logged(client, Path(path), order["begin"])
            if "leg" in order:
                runs[path].legs.append(order["leg"])
            if "close" in order:
                runs.pop(path).close()
                print(json.dumps({"problem": None}), file=answers, flush=True)
        for run in runs.values():
            run.cut_off()
    except Exception as error:  # noqa: BLE001 - the client raises what it likes; the driver says it
        words = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        print(json.dumps({"problem": words[:300]}), file=answers, flush=True)
    os._exit(0)  # without waiting for what the client's threads still wait for


def _read(orders: queue.Queue[dict[str, Any] | None]) -> None:
    for line in sys.stdin.buffer:
        orders.put(json.loads(line))
    orders.put(None)


def _import() -> Any:
    os.environ["WANDB_SILENT"] = "true"
    try:
        import wandb
    except ImportError:
        raise Refused("its client is not installed: pip install 'regatta[wandb]'. Training goes on") from None
    return wandb


class _Logged:
    """One run, as it is logged."""

    def __init__(self, client: Any, path: Path, begin: dict[str, Any]) -> None:
        self._path = path
        self._state = _State(path)
        self.legs: list[tuple[int, int, int]] = self._state.legs
        """Of each leg: the steps and samples of the run before it, and the samples of a step."""
        self._run = client.init(
            **begin,
            id=self._state.id,
            resume="allow",
            reinit="create_new",
            dir=str(path),
            settings=client.Settings(
                console="off",
                disable_code=True,
                disable_git=True,  # it would run git, and so what the job's repository configures
                x_disable_meta=True,  # of this process, not of the tasks
                x_disable_stats=True,
                x_save_requirements=False,
                init_timeout=INIT_SECONDS,
            ),
        )
        self._run.define_metric("samples", summary="max")
        self._run.define_metric("*", step_metric="samples")

    def follow(self) -> None:
        """Log what is new in the store."""
        try:
            metrics = Metrics(self._path)
        except sqlite3.Error:  # it is being created, or busy; there is another time
            return
        try:
            metrics.rows("BEGIN")  # so that all is read as of one moment
            rows = [*self._steps(metrics), *self._evaluations(metrics)]
        except sqlite3.Error:
            return
        finally:
            metrics.close()
        for row in rows:
            self._run.log(row, step=self._state.rows)
            self._state.rows += 1
        if rows:
            self._state.write()

    def close(self) -> None:
        """The run has ended, and its store is complete."""
        self.follow()
        result = documents.load(RunResult, self._path / RESULT)
        self._run.summary.update({**summary(result), "status": f"{result.status}: {result.stop_reason}"})
        self._run.finish(exit_code=int(result.status == "failed"))

    def cut_off(self) -> None:
        """No more will come; the run may be resumed."""
        self.follow()
        self._run.finish(exit_code=1)

    def _steps(self, metrics: Metrics) -> Iterator[dict[str, float]]:
        """Points of the loss and of what else a step reports, as means over a short time."""
        (last,) = metrics.column("SELECT MAX(rowid) FROM steps")
        losses = metrics.rows(
            "SELECT attempt, clock, step, loss FROM steps WHERE rowid > ? AND loss IS NOT NULL ORDER BY attempt, clock",
            self._state.step,
        )
        (last_call,) = metrics.column("SELECT MAX(rowid) FROM calls")
        calls = metrics.rows(
            "SELECT attempt, clock, steps, logs FROM calls WHERE rowid > ? ORDER BY attempt, clock", self._state.call
        )
        logged = {interval: list(rows) for interval, rows in groupby(calls, lambda row: _interval(row[0], row[1]))}
        for interval, rows in groupby(losses, lambda row: _interval(row[0], row[1])):
            points = list(rows)
            step = max(row[2] for row in points)
            point = {"samples": self._samples(step), "step": step, "seconds": max(row[1] for row in points)}
            point["train/loss"] = sum(row[3] for row in points) / len(points)
            yield point | _means([(row[2], json.loads(row[3])) for row in logged.get(interval, ())])
        self._state.step, self._state.call = last or 0, last_call or 0

    def _evaluations(self, metrics: Metrics) -> Iterator[dict[str, float]]:
        query = "SELECT rowid, step, samples, clock, metrics FROM evaluations WHERE rowid > ? ORDER BY rowid"
        for row, step, samples, clock, scored in metrics.rows(query, self._state.evaluation):
            self._state.evaluation = row
            values = {f"evaluation/{name}": value for name, value in json.loads(scored).items()}
            yield {"samples": samples, "step": step, "seconds": clock, **_finite(values)}

    def _samples(self, step: int) -> int:
        before = [leg for leg in self.legs if leg[0] < step] or self.legs[:1]
        if not before:
            return 0
        steps, samples, of_a_step = before[-1]
        return samples + (step - steps) * of_a_step


class _State:
    """What `STATE` keeps: the run's id, rows that were logged, and the last rows of the store among them."""

    def __init__(self, run: Path) -> None:
        self._path = run / STATE
        try:
            kept = json.loads(documents.read_text(self._path))
        except (OSError, ValueError):
            kept = {}
        self.id = str(kept.get("id", secrets.token_hex(4)))
        self.rows, self.step, self.call, self.evaluation = (
            int(kept.get(name, 0)) for name in ("rows", "step", "call", "evaluation")
        )
        self.legs: list[tuple[int, int, int]] = [(int(a), int(b), int(c)) for a, b, c in kept.get("legs", ())]
        self.write()

    def write(self) -> None:
        kept = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        files.write_atomically(self._path, json.dumps(kept))


def _interval(attempt: int, clock: float) -> tuple[int, float, int]:
    """The point of a curve that `clock` belongs to; intervals double, so that their bounds do not move."""
    width = SHORTEST_POINT
    while width < min(clock / 50, LONGEST_POINT):
        width *= 2
    return attempt, width, math.floor(clock / width)


def _means(calls: list[tuple[int, dict[str, Any]]]) -> dict[str, float]:
    """Means of what the calls report besides the loss, by their steps."""
    total: dict[str, list[tuple[int, float]]] = {}
    for steps, logs in calls:
        for name, value in _finite(logs).items():
            total.setdefault(name, []).append((steps, value))
    return {
        f"train/{name}": sum(steps * value for steps, value in found) / sum(steps for steps, _ in found)
        for name, found in total.items()
        if name != "loss"
    }


def _finite(values: dict[str, Any]) -> dict[str, float]:
    return {name: float(v) for name, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}


if __name__ == "__main__":
    main()
