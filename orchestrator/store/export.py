"""Exports a run's metrics for other tools: one Parquet or CSV file per table of metrics.db."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import UsageError
from orchestrator.store.metrics import METRICS, TABLES, Metrics
from workers import files

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("parquet", "csv")
_CHUNK = 100_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def export(run: Path, format_: str, out: Path) -> list[Path]:
    """Write every table of a run's metrics.db to folder `out`; returns the files. Uses bounded memory.

    For a comparison, `out` gets one folder per run.

    Raises:
        UsageError: there are no metrics, the format is unknown, or `out` cannot be written to.
    """
    if format_ not in FORMATS:
        raise UsageError(f"--format: {format_!r} is not allowed: {' or '.join(FORMATS)}")
    runs = sorted((run / "runs").glob(f"*/{METRICS}"))
    if runs and not (run / METRICS).is_file():
        return [path for found in runs for path in export(found.parent, format_, out / found.parent.name)]
    if not (run / METRICS).is_file():
        raise UsageError(f"{run} is not the folder of a run: it holds no {METRICS}.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        metrics = Metrics(run)
        try:
            found = metrics.column("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            names = [name for name in found if name in TABLES]  # a name becomes part of a path and of a query
            return [_write(metrics, name, format_, out / f"{name}.{format_}") for name in names]
        finally:
            metrics.close()
    except (sqlite3.Error, KeyError, ValueError, TypeError) as error:
        raise UsageError(
            f"{run / METRICS} cannot be read: {error}. Was it written by this version of Regatta?"
        ) from None
    except OSError as error:
        raise UsageError(f"--out: {out} cannot be written to ({error.strerror}).") from None


def _write(metrics: Metrics, table: str, format_: str, path: Path) -> Path:
    from pyarrow import csv, parquet

    schema = _schema(metrics, table)
    with files.replacing(path) as file:
        writer = parquet.ParquetWriter(file, schema) if format_ == "parquet" else csv.CSVWriter(file, schema)
        with writer:
            for batch in _batches(metrics, table, schema, _without_formula if format_ == "csv" else None):
                writer.write_batch(batch)
    return path


def _schema(metrics: Metrics, table: str) -> pa.Schema:
    """Arrow schema of a table, from the declared column types."""
    import pyarrow as pa

    types = {"INT": pa.int64(), "REAL": pa.float64(), "TEXT": pa.string()}
    columns = metrics.rows("SELECT name, type FROM pragma_table_info(?)", table)
    return pa.schema([(name, types[declared]) for name, declared in columns])


def _without_formula(value: object) -> object:
    """`value`, with an apostrophe before text that a spreadsheet would evaluate as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _batches(
    metrics: Metrics, table: str, schema: pa.Schema, change: Callable[[object], object] | None
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    last = 0
    while True:
        query = f"SELECT rowid, * FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT {_CHUNK}"  # noqa: S608 - its own names
        rows = metrics.rows(query, last)
        if not rows:
            return
        last = rows[-1][0]
        columns: Iterable[Sequence[object]] = zip(*(row[1:] for row in rows), strict=True)
        if change is not None:
            columns = ([change(value) for value in column] for column in columns)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
