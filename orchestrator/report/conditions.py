"""Under which conditions runs were made: when, on what, with which code, model and settings."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from orchestrator import text
from orchestrator.report.drawing import section
from orchestrator.report.markup import Html, el
from orchestrator.report.repeating import facts, gpus
from orchestrator.report.stored import UNREADABLE, StoredRun
from orchestrator.report.study import Study
from orchestrator.store.model_export import FORMATS

_PACKAGES = {
    "regatta": "Regatta",
    "packages tensorflow": "TensorFlow",
    "packages keras": "Keras",
    "packages ray": "Ray",
    "python": "Python",
}


def conditions(study: Study) -> list[tuple[str, str]]:
    """Rows of name and value; what differs between variants is given for each. What is not known has no row."""
    runs = [run for _, run in study.runs]
    known = [dict(facts(run.environment)) for run in runs if run.environment]
    rows = [
        ("when", _when(runs)),
        ("machine", _machine(known)),
        ("GPUs", gpus(runs)),
        ("versions", ", ".join(f"{title} {value}" for key, title in _PACKAGES.items() if (value := _one(known, key)))),
        ("commit of the job", _one(known, "commit job")),
        ("model", _model(runs)),
        ("tasks", _each(study, lambda run: _tasks(run.result.tasks))),
        ("samples per update", _each(study, lambda run: _count(run.result.samples_per_update))),
        ("learning rate", _each(study, lambda run: _rate(run.result.learning_rate))),
        ("budget", _each(study, _budget)),
    ]
    return [(name, value) for name, value in rows if value]


def described(study: Study) -> Html | None:
    """The section of the page."""
    rows = conditions(study)
    return section(
        "Conditions", el("dl", ([el("dt", name), el("dd", value)] for name, value in rows)), id_="conditions"
    )


def _when(runs: Iterable[StoredRun]) -> str:
    begun, ended = [], []
    for run in runs:
        rows = run.rows("SELECT MIN(time), MAX(time) FROM events")
        if rows and text.is_number(rows[0][0]):
            begun.append(rows[0][0])
            ended.append(rows[0][1])
    if not begun:
        return ""
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(min(begun)))
    return f"{day}, {text.seconds(max(ended) - min(begun))} in all"


def _machine(known: list[dict[str, str]]) -> str:
    parts = [
        _one(known, "cpu model"),
        f"{cores} cores" if (cores := _one(known, "cpu usable")) else "",
        _one(known, "memory_bytes"),
    ]
    return ", ".join(part for part in parts if part)


def _one(known: list[dict[str, str]], key: str) -> str:
    return " / ".join(dict.fromkeys(facts_of[key] for facts_of in known if facts_of.get(key)))


def _model(runs: Iterable[StoredRun]) -> str:
    """Layers and parameters of the first run whose model was saved."""
    for run in runs:
        if run.path is not None and (run.path / FORMATS["keras"]).is_file():
            try:
                return _summary(run.path / FORMATS["keras"])
            except (*UNREADABLE, OSError, zipfile.BadZipFile):
                continue
    return ""


def _summary(file: Path) -> str:
    import h5py

    with zipfile.ZipFile(file) as archive:
        config = json.loads(archive.read("config.json"))
        with archive.open("model.weights.h5") as weights, h5py.File(weights) as stored:
            found: dict[str, Any] = {}
            stored.visititems(found.__setitem__)
            sizes = [
                item.size
                for name, item in found.items()
                if isinstance(item, h5py.Dataset) and not name.startswith("optimizer/")
            ]
    layers = [layer for layer in config["config"].get("layers", ()) if layer["class_name"] != "InputLayer"]
    parts = [text.plain(config["class_name"], 40), *([text.plural(len(layers), "layer")] if layers else [])]
    return ", ".join([*parts, f"{sum(sizes):,} weights"])


def _each(study: Study, tell: Callable[[StoredRun], str]) -> str:
    """The value, if all variants have the same; else that of each variant."""
    values = {name: " / ".join(dict.fromkeys(map(tell, runs))) for name, runs in study.modes.items()}
    distinct = set(values.values())
    if len(distinct) == 1:
        return distinct.pop()
    return "; ".join(f"{text.plain(name, 40)}: {value or text.MISSING}" for name, value in values.items())


def _tasks(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} ps" if kind == "ps" else text.plural(count, kind) for kind, count in counts.items())


def _budget(run: StoredRun) -> str:
    spec = run.spec
    parts = [f"{spec[name]:,} {name}" for name in ("epochs", "samples") if text.is_number(spec.get(name))]
    if isinstance(spec.get("target"), str):
        parts.append(f"target {text.plain(spec['target'], 60)}")
    return ", ".join(parts)


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,}"


def _rate(value: float | None) -> str:
    return "" if value is None else text.number(value, 3)
