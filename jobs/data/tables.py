"""Loads CSV and Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jobs.data.errors import DataFileError, existing_file, reading

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


class Table(NamedTuple):
    """Features, float32 of shape (rows, columns), and labels, int64 or float32 of shape (rows,)."""

    x: NDArray[np.float32]
    y: NDArray[Any]
    columns: tuple[str, ...]


def load(path: str | Path, label: str, features: Sequence[str] | None = None) -> Table:
    """Load a `.csv`, `.csv.gz` or `.parquet` file with a header and numeric columns.

    Without `features`, all columns except `label` are features.

    Raises:
        DataFileError: no such file, unreadable, or a column is missing, not numeric or has missing values.
    """
    import numpy as np

    path = existing_file(path)
    table = _read(path)
    names = [name for name in table.column_names if name != label] if features is None else list(features)
    for name in (label, *names):
        if name not in table.column_names:
            close = get_close_matches(name, table.column_names, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise DataFileError(path, f"has no column {name!r}{hint}; it has {', '.join(table.column_names)}")
    if not table.num_rows:
        raise DataFileError(path, "has no rows")
    columns = [_numbers(path, table, name) for name in names]
    y = _numbers(path, table, label)
    return Table(
        np.stack(columns, axis=1).astype(np.float32) if columns else np.empty((len(y), 0), np.float32),
        y.astype(np.int64) if np.issubdtype(y.dtype, np.integer) else y.astype(np.float32),
        tuple(names),
    )


def _read(path: Path) -> pa.Table:
    import pyarrow as pa

    if path.suffix == ".parquet":
        from pyarrow import parquet

        with reading(path, "Parquet file", pa.ArrowException, OSError):
            return parquet.read_table(path)
    from pyarrow import csv

    with reading(path, "CSV file", pa.ArrowException, OSError):
        return csv.read_csv(path)


def _numbers(path: Path, table: pa.Table, name: str) -> NDArray[Any]:
    import numpy as np

    column = table.column(name)
    if column.null_count:
        raise DataFileError(path, f"column {name!r} has {column.null_count} missing values")
    numbers: NDArray[Any] = column.to_numpy()
    if numbers.dtype == np.bool_:
        return numbers.astype(np.int64)
    if not np.issubdtype(numbers.dtype, np.number):
        raise DataFileError(path, f"column {name!r} holds {column.type}, not numbers; the first: {numbers[0]!r}")
    return numbers
