"""Names and values of metrics that are vectors."""

from __future__ import annotations

import numpy as np
import pytest

from workers.model.logs import MOST_ELEMENTS, element_names, numbers

pytestmark = pytest.mark.unit


def test_a_vector_is_its_elements_and_their_mean() -> None:
    assert numbers({"loss": 0.5, "f1": np.array([0.25, 0.75], np.float32)}) == {
        "loss": 0.5,
        "f1": 0.5,
        "f1_0": 0.25,
        "f1_1": 0.75,
    }


def test_a_matrix_is_named_by_row_and_column() -> None:
    assert element_names("m", (2, 2), set()) == ["m_0_0", "m_0_1", "m_1_0", "m_1_1"]


def test_elements_take_no_other_metrics_name() -> None:
    logs = {"f1": np.array([0.0, 1.0]), "f1_1": np.array([0.5, 0.5])}
    assert numbers(logs) == {
        "f1": 0.5,
        "f1_element_0": 0.0,
        "f1_element_1": 1.0,
        "f1_1": 0.5,
        "f1_1_0": 0.5,
        "f1_1_1": 0.5,
    }


def test_of_a_large_value_only_the_mean_is_kept() -> None:
    assert numbers({"m": np.ones(MOST_ELEMENTS + 1)}) == {"m": 1.0}


def test_what_is_no_number_is_left_out() -> None:
    assert numbers({"loss": 1.0, "note": "text", "none": np.zeros(0)}) == {"loss": 1.0}
