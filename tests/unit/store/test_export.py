"""Exported tables contain every row of a run's metrics, in every format."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from orchestrator.errors import UsageError
from orchestrator.store import export as exporting
from orchestrator.store.export import export
from tests.conftest import regatta
from tests.unit.run_being_written import W0, W1, Writing


@pytest.fixture
def run(tmp_path: Path) -> Path:
    writing = Writing(tmp_path / "run").begins().trains(300).trains(200, loss=float("nan")).evaluates(0.9)
    writing.samples(W0).samples(W1, cpu=None).finds().ends()
    return tmp_path / "run"


@pytest.mark.parametrize("format_", ["parquet", "csv"])
def test_every_table_and_row_is_exported(
    run: Path, tmp_path: Path, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_CHUNK", 64)  # several batches
    files = export(run, format_, tmp_path / "out")
    assert sorted(file.stem for file in files) == [
        "calls", "evaluations", "events", "gpu_samples", "host_samples", "steps", "tasks", "timings",
    ]  # fmt: skip
    read = {file.stem: pq.read_table(file) if format_ == "parquet" else csv.read_csv(file) for file in files}
    steps = read["steps"]
    assert steps.num_rows == 500
    assert steps["step"].to_pylist() == list(range(1, 501))
    assert steps["loss"].null_count == 200, "SQLite stores NaN as null"
    assert np.nanmax(steps["clock"].to_numpy()) == pytest.approx(0.2)
    assert read["host_samples"]["cpu_percent"].to_pylist() == [71.0, None]
    if format_ == "parquet":
        assert json.loads(read["evaluations"]["metrics"][0].as_py()) == {"val_accuracy": 0.9}
    else:
        assert read["evaluations"]["metrics.val_accuracy"].to_pylist() == [0.9]
        assert not any("{" in file.read_text() for file in files), "no cell holds JSON"
    with sqlite3.connect(run / "metrics.db") as db:
        for name, table in read.items():
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({name})")]
            assert list(dict.fromkeys(column.partition(".")[0] for column in table.column_names)) == columns
            assert table.num_rows == db.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0]


def test_a_run_in_progress_can_be_exported(tmp_path: Path) -> None:
    Writing(tmp_path / "run").begins().trains(100).committed()
    export(tmp_path / "run", "parquet", tmp_path / "out")
    assert pq.read_table(tmp_path / "out" / "steps.parquet").num_rows == 100


def test_the_command_line_exports(run: Path) -> None:
    done = regatta("export-metrics", "run", "--format", "csv", cwd=run.parent)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.splitlines()[0]) == Path("run/export/calls.csv")
    assert (run / "export" / "steps.csv").read_text().startswith('"attempt","step","worker"')


@pytest.mark.parametrize(
    ("folder", "format_", "message"),
    [
        ("run", "xlsx", "'xlsx' is not allowed: parquet or csv"),
        ("other", "csv", "holds no metrics.db"),
    ],
)
def test_bad_input_is_refused(run: Path, tmp_path: Path, folder: str, format_: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        export(tmp_path / folder, format_, tmp_path / "out")


def test_an_unwritable_folder_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written to"):
        export(run, "csv", tmp_path / "file" / "out")
