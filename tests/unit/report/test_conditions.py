"""Conditions of a report: when, on what, with which model and settings."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from orchestrator.report.conditions import conditions
from orchestrator.report.repeating import spec_text
from orchestrator.report.study import load_study
from orchestrator.spec.run import RunSpec
from orchestrator.store.directory import ENVIRONMENT
from tests.unit.stored_runs import store_comparison, store_run

pytestmark = pytest.mark.unit


def saved_model(path: Path) -> None:
    """A model file as Keras writes it: two layers with 30 and 4 weights, and an optimizer's variables."""
    layers = [{"class_name": name, "config": {}} for name in ("InputLayer", "Dense", "Dense")]
    with h5py.File(path.with_suffix(".h5"), "w") as weights:
        weights["layers/dense/vars/0"] = np.zeros((5, 6))
        weights["layers/dense_1/vars/0"] = np.zeros(4)
        weights["optimizer/vars/0"] = np.zeros((5, 6))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": layers}}))
        archive.write(path.with_suffix(".h5"), "model.weights.h5")


def test_what_all_variants_share_is_told_once(tmp_path: Path) -> None:
    store_comparison(tmp_path / "c", seeds=1)
    run = tmp_path / "c" / "runs" / "sync-s0"
    saved_model(run / "model.keras")
    (run / ENVIRONMENT).write_text(
        json.dumps({"python": "3.11", "packages": {"keras": "3.15"}, "cpu": {"model": "EPYC", "usable": 2}})
    )
    told = dict(conditions(load_study(tmp_path / "c")))
    assert told["model"] == "Sequential, 2 layers, 34 weights"
    assert told["machine"] == "EPYC, 2 cores"
    assert told["versions"] == "Keras 3.15, Python 3.11"
    assert told["tasks"] == "sync: 2 workers, 1 evaluator; async: 2 workers, 1 chief, 1 ps, 1 evaluator"
    assert told["budget"] == "target val_accuracy>=0.95"
    assert "in all" in told["when"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04no archive"])
def test_what_cannot_be_read_has_no_row(tmp_path: Path, content: bytes) -> None:
    store_run(tmp_path, "sync", 0, 10.0)
    path = tmp_path / "runs" / "sync-s0"
    (path / "model.keras").write_bytes(content)
    assert not {"model", "machine", "versions"} & dict(conditions(load_study(path))).keys()


def test_settings_that_are_defaults_are_folded_away(tmp_path: Path) -> None:
    spec = RunSpec(job="digits", target="val_accuracy>=0.9", batch_size=64).resolved() | {"params": {"hidden": 64}}
    store_run(tmp_path, "sync", 0, 10.0, spec=spec)
    study = load_study(tmp_path / "runs" / "sync-s0")
    short, whole = spec_text(study, whole=False) or "", spec_text(study) or ""
    names = [line.partition(":")[0] for line in short.splitlines()]
    assert set(names) == {"job", "params", "mode", "batch_size", "target", "workers", "seed"}
    again = [RunSpec.make(yaml.safe_load(text)).resolved() for text in (short, whole)]
    assert again[0] == again[1] == spec | {"directory": again[0]["directory"]}
    assert "hang_seconds" in whole
    assert len(whole.splitlines()) > 2 * len(names)
