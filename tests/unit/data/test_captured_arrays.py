"""Which values of a dataset are arrays, to be captured as inputs of its graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from workers.data.in_memory import _array

pytestmark = pytest.mark.unit

ROWS = np.arange(6.0, dtype=np.float32).reshape(3, 2)


class Column:
    """Stands in for a column of pandas, which is not among the dependencies."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return ROWS


Column.__module__ = "pandas.core.series"


@pytest.mark.parametrize("value", [ROWS, Column()], ids=lambda value: type(value).__name__)
def test_arrays_and_columns_of_tables(value: Any) -> None:
    found = _array(value)
    assert found is not None
    assert found.dtype == np.float32  # TensorFlow makes float32 of Python's numbers, and NumPy float64
    np.testing.assert_array_equal(found, ROWS)


@pytest.mark.parametrize("value", [[1.0, 2.0], [], [ROWS, ROWS], "text", 3, None])
def test_what_tensorflow_converts_in_its_own_way_is_left_to_it(value: Any) -> None:
    assert _array(value) is None
