"""Exports a run's metrics for other tools: one Parquet or CSV file per table of metrics.db."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import UsageError
from orchestrator.store.metrics import METRICS, TABLES, Metrics
from workers import files

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("parquet", "csv")
_CHUNK = 100_000
_DOCUMENTS = ("logs", "metrics", "detail")
"""Columns that hold JSON objects, of which CSV gets a column per name."""
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
        if format_ == "parquet":
            with parquet.ParquetWriter(file, schema) as writer:
                for batch in _batches(metrics, table, schema):
                    writer.write_batch(batch)
            return path
        names = _names(metrics, table, schema)
        with csv.CSVWriter(file, _flat_schema(schema, names)) as writer:
            for batch in _batches(metrics, table, schema):
                writer.write_batch(_flat(batch, names))
    return path


def _schema(metrics: Metrics, table: str) -> pa.Schema:
    """Arrow schema of a table, from the declared column types."""
    import pyarrow as pa

    types = {"INT": pa.int64(), "REAL": pa.float64(), "TEXT": pa.string()}
    columns = metrics.rows("SELECT name, type FROM pragma_table_info(?)", table)
    return pa.schema([(name, types[declared]) for name, declared in columns])


def _names(metrics: Metrics, table: str, schema: pa.Schema) -> dict[str, list[str]]:
    """The names in the JSON objects of each column that holds such, sorted."""
    found: dict[str, set[str]] = {column: set() for column in schema.names if column in _DOCUMENTS}
    for batch in _batches(metrics, table, schema) if found else ():
        for column, names in found.items():
            names.update(name for text in batch.column(column).to_pylist() for name in _object(text))
    return {column: sorted(names) for column, names in found.items()}


def _flat_schema(schema: pa.Schema, names: Mapping[str, Sequence[str]]) -> pa.Schema:
    """`schema` with a column of text in place of each name in a JSON object, `metrics.val_loss` for example."""
    import pyarrow as pa

    columns: list[tuple[str, pa.DataType]] = []
    for field in schema:
        if field.name in names:
            columns += [(f"{field.name}.{name}", pa.string()) for name in names[field.name]]
        else:
            columns.append((field.name, field.type))
    return pa.schema(columns)


def _flat(batch: pa.RecordBatch, names: Mapping[str, Sequence[str]]) -> pa.RecordBatch:
    """`batch` as `_flat_schema` says, and no text that a spreadsheet would take for a formula."""
    import pyarrow as pa

    columns: list[pa.Array] = []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if field.name in names:
            rows = [_object(text) for text in column.to_pylist()]
            columns += [pa.array([_cell(row.get(name)) for row in rows], pa.string()) for name in names[field.name]]
        elif field.name == "notes":
            lists = [json.loads(text) if text else [] for text in column.to_pylist()]
            columns.append(pa.array(["; ".join(map(str, notes)) for notes in lists], pa.string()))
        elif field.type == pa.string():
            columns.append(pa.array([_without_formula(text) for text in column.to_pylist()], pa.string()))
        else:
            columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=_flat_schema(batch.schema, names))


def _object(text: str | None) -> dict[str, object]:
    """A cell's JSON object; of anything else, which Regatta does not write, an object with its text as `value`."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = text
    return found if isinstance(found, dict) else {"value": text}


def _cell(value: object) -> str | None:
    """A value of a JSON object, as text; what is nested in it, as JSON."""
    if value is None:
        return None
    return str(_without_formula(value)) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _without_formula(value: object) -> object:
    """`value`, with an apostrophe before text that a spreadsheet would evaluate as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _batches(metrics: Metrics, table: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    last = 0
    while True:
        query = f"SELECT rowid, * FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT {_CHUNK}"  # noqa: S608 - its own names
        rows = metrics.rows(query, last)
        if not rows:
            return
        last = rows[-1][0]
        columns = zip(*(row[1:] for row in rows), strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
