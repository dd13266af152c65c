"""Straggler profiles: parsing, and the sleeps that they draw and replay."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from tests.sleeps import sleeps
from workers.errors import ProfileError
from workers.stragglers import Pace, Profile, pace_of


def test_a_persistent_straggler_is_slow_in_every_step_and_other_workers_never() -> None:
    table = sleeps("persistent:worker=1,factor=4,step=0.01", seed=0, workers=3, steps=2000)
    np.testing.assert_allclose(table, np.tile([0.01, 0.04, 0.01], (2000, 1)))


def test_transient_delays_come_as_often_as_they_should() -> None:
    table = sleeps("transient:p=0.05,factor=10", seed=1, workers=4, steps=5000)
    assert set(np.round(np.unique(table / 0.02), 9)) == {1.0, 10.0}
    assert np.mean(table > 0.02) == pytest.approx(0.05, abs=0.01)


def test_lognormal_factors_have_mean_one() -> None:
    table = sleeps("lognormal:sigma=0.3", seed=2, workers=2, steps=20_000) / 0.02
    assert table.mean() == pytest.approx(1.0, rel=0.01)
    assert np.log(table).std() == pytest.approx(0.3, rel=0.02)


def test_the_same_seed_replays_and_workers_differ() -> None:
    profile = "lognormal:sigma=0.3"
    np.testing.assert_array_equal(sleeps(profile, 5, 2, 3000), sleeps(profile, 5, 2, 3000))
    assert not np.array_equal(sleeps(profile, 5, 2, 10), sleeps(profile, 6, 2, 10))
    first, second = sleeps(profile, 5, 2, 100).T
    assert not np.array_equal(first, second)


def test_a_workers_sleeps_do_not_depend_on_the_number_of_workers() -> None:
    profile = "transient:p=0.3,factor=2"
    np.testing.assert_array_equal(sleeps(profile, 3, 8, 50)[:, :2], sleeps(profile, 3, 2, 50))


def test_a_trace_is_replayed_and_repeated(tmp_path: Path) -> None:
    path = tmp_path / "draws.csv"
    path.write_text("1,4\n2,1\n")
    table = sleeps(f"trace:path={path},step=0.1", seed=0, workers=2, steps=3)
    np.testing.assert_allclose(table, [[0.1, 0.4], [0.2, 0.1], [0.1, 0.4]])


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("slow", "profiles:"),
        ("persistent", "factor="),
        ("persistent:factor=0.5", "out of range"),
        ("persistent:factor=4,wroker=1", "wroker"),
        ("transient:p=2,factor=3", "out of range"),
        ("lognormal:sigma=abc", "not a number"),
        ("trace:step=1", "path=FILE"),
        ("none:step=1", "no setting"),
    ],
)
def test_a_wrong_profile_says_what_would_be_right(text: str, word: str) -> None:
    with pytest.raises(ProfileError, match=word):
        Profile.parse(text)


@pytest.mark.parametrize("content", ["", "1,x\n", "0,1\n", "nan,1\n"])
def test_a_wrong_trace_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "draws.csv"
    path.write_text(content)
    with (
        pytest.raises(ProfileError, match=r"draws\.csv"),
        pytest.warns() if not content else contextlib.nullcontext(),
    ):
        Pace(Profile.parse(f"trace:path={path}"), 0, 0)


def test_the_profile_none_has_no_pace() -> None:
    pace = pace_of("persistent:worker=0,factor=2,step=0.5", 0, 0)
    assert pace is not None
    assert pace.seconds() == 1.0
    assert pace_of("none", 0, 0) is None
