"""Predictions that are kept, and judged by the comparison that comes after them."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.foresight.probe import code_and_machine
from orchestrator.results import Comparison, Judged, RunResult
from orchestrator.spec.run import RunSpec
from orchestrator.store.directory import to_json
from orchestrator.store.documents import read_text
from orchestrator.store.folders import RUNS
from orchestrator.text import is_number
from workers.files import write_atomically

_HASH = "sha256"
_QUANTITIES = ("update_seconds", "samples_to_target", "seconds_to_target")


def write_predictions(folder: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """Write `document` with its hash to a new file in `folder`; returns it with both."""
    name = f"predictions-{time.strftime('%Y%m%d-%H%M%S')}.json"
    whole: dict[str, Any] = json.loads(to_json({**document, "file": str(folder / name)}))
    whole[_HASH] = _hash(whole)
    write_atomically(folder / name, to_json(whole))
    return whole


def read_predictions(path: Path) -> dict[str, Any]:
    """The predictions in file `path`.

    Raises:
        UsageError: it cannot be read, is none of `regatta advise`, or was changed after it was written.
    """
    try:
        document = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"--predictions: {path} cannot be read: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("predictions"), list) or _HASH not in document:
        raise UsageError(f"--predictions: {path} is not a file that `regatta advise` wrote.")
    if document[_HASH] != _hash(document):
        raise UsageError(
            f"--predictions: {path} was changed after it was written: its hash is another one. Run advise."
        )
    return document


def latest(spec: RunSpec) -> dict[str, Any] | None:
    """The newest predictions in `runs/` about what `spec` trains, by its present code on this machine; None if none."""
    if spec.address is not None or spec.gpus_per_worker:
        return None
    files = sorted(RUNS.glob("*/predictions-*.json"), key=lambda file: file.name, reverse=True)
    made_by = code_and_machine(spec) if files else ""
    for file in files:
        try:
            document = read_predictions(file)
            check_fits(document, spec)
        except UsageError:
            continue
        if document.get("made_by") == made_by:
            return document
    return None


def check_fits(document: Mapping[str, Any], spec: RunSpec) -> None:
    """Raises UsageError if the predictions are about another job, other params, target or straggler profile."""
    for name in ("job", "params", "target", "straggler"):
        value = getattr(spec, name)
        value = dict(value) if name == "params" else value
        if document.get(name) != value:
            raise UsageError(
                f"--predictions: the file is about {name} {document.get(name)}, and the comparison about {value}: they "
                "cannot be set against each other."
            )


def judge(document: Mapping[str, Any], comparison: Comparison) -> Comparison:
    """`comparison` with measured against predicted: a row for each variant and quantity, whether predicted or not."""
    rows = [
        _judged(document["predictions"], name, results.runs, quantity)
        for name, results in comparison.modes.items()
        for quantity in _QUANTITIES
        if results.runs
    ]
    return comparison.model_copy(update={"predictions": tuple(rows)})


def _judged(predictions: Sequence[Mapping[str, Any]], name: str, runs: Sequence[RunResult], quantity: str) -> Judged:
    first = runs[0]
    key = (first.mode, first.tasks.get("worker"), first.samples_per_update)
    matching = [p for p in predictions if (p.get("mode"), p.get("workers"), p.get("samples_per_update")) == key]
    row = Judged(variant=name, quantity=quantity)
    if not matching:
        return _because(row, f"not predicted: {key[0]}, {key[1]} workers, {key[2]} samples per update")
    predicted = matching[0][quantity]
    if not all(is_number(predicted[bound]) for bound in ("value", "low", "high")):
        return _because(row, f"not predicted: {predicted['reason']}")
    values = [value for run in runs if (value := _measured(run, quantity)) is not None]
    late = 0.0
    if quantity == "update_seconds" and values:  # a run is slower at its start, which counts in its mean
        late = matching[0]["start_seconds"] / fmean(run.steps or 1 for run in runs)
    low, value, high = (predicted[bound] + late for bound in ("low", "value", "high"))
    row = row.model_copy(update={"predicted": value, "low": low, "high": high})
    if len(values) < len(runs):
        return _because(
            row, "not measured in every run" if quantity == "update_seconds" else "not every run reached the target"
        )
    measured = math.exp(fmean(map(math.log, values)))
    judged = {"measured": measured, "error": value / measured - 1, "covered": low <= measured <= high}
    return row.model_copy(update=judged)


def _because(row: Judged, reason: str) -> Judged:
    return row.model_copy(update={"reason": reason})


def _measured(run: RunResult, quantity: str) -> float | None:
    target, rate = run.target, run.throughput.steps_per_s
    if quantity == "update_seconds":
        return 1 / rate if rate else None
    if target is None or not target.reached:
        return None
    value = target.samples if quantity == "samples_to_target" else target.seconds
    return float(value) if value else None


def _hash(document: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in document.items() if key != _HASH}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
