"""Names and values of metrics: vectors, and names that harm what shows them."""

from __future__ import annotations

import numpy as np
import pytest

from workers.model.logs import LONGEST_NAME, MOST_ELEMENTS, element_names, numbers, reported, reported_names

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


HOSTILE = {
    "line\nbreak": "line_break",
    "\x1b[2J\x1b]8;;http://evil\x07": "_[2J_]8;;http:/_/evil_",
    "a\u202eb\u2066": "a_b_",
    "a\ud800b": "a_b",
    "../../../etc/passwd": "_/_/_/etc/passwd",
    "/a": "_/a",
    "a//b/": "a/_/b/_",
    ". .": "_",
    "": "_",
    "m" * 10_000: "m" * LONGEST_NAME,
}


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:20])
def test_names_are_cleaned_and_that_is_said(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    reported_names.cache_clear()
    assert reported({"loss": 0.5, name: 0.25}) == {"loss": 0.5, HOSTILE[name]: 0.25}
    said = capfd.readouterr().err
    assert said.startswith("regatta: the metric ")
    assert said.endswith(f" is reported as {HOSTILE[name]}\n")
    assert (said.isascii(), said.count("\n"), len(said) < 1000) == (True, 1, True)


@pytest.mark.parametrize(
    "name", ["loss", "top-5 (%)", "précision", "losses/aux", "f1_score[0]", "<b>", "m" * LONGEST_NAME]
)
def test_names_that_hurt_nobody_are_kept(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert reported_names((name,)) == (name,)
    assert capfd.readouterr().err == ""


def test_names_that_become_equal_are_told_apart() -> None:
    """Of two metrics none takes the other's values, whichever comes first."""
    assert reported_names(("a\n", "a_", "a\t", "a\r")) == ("a__2", "a_", "a__3", "a__4")
    long = tuple("m" * 300 + str(number) for number in range(300))
    assert len(set(reported_names(long))) == 300
    assert max(map(len, reported_names(long))) <= LONGEST_NAME
