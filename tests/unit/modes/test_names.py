"""Names of modes with numbers: what is valid, what is said of the rest, and how lists are split."""

from __future__ import annotations

import re

import pytest

from workers.modes.names import split
from workers.modes.registry import MODES, examples, find, in_stages, stages, traits, values_of

pytestmark = pytest.mark.unit


def test_every_family_has_a_valid_example_that_its_pattern_accepts() -> None:
    for family, name in zip(MODES, examples(), strict=True):
        values_of(name)
        assert find(name) is MODES[family]
        assert re.fullmatch(MODES[family].form.pattern(family), name)


def test_options_have_defaults() -> None:
    assert values_of("local:16") == {"number": 16, "outer": "mean", "outer_lr": 0.7, "outer_momentum": 0.9}
    assert values_of("local:2,outer=nesterov,outer_lr=1")["outer_lr"] == 1.0
    assert values_of("sync") == {}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("local", "'local:16', with the steps between two means after the colon: a whole number of at least 1"),
        ("local:0", "a whole number of at least 1"),
        ("local:x", "'local:16'"),
        ("local:016", "'local:16'"),  # one mode, one name
        ("local:1,outer=adam", "outer in it is what is done with the mean: mean or nesterov"),
        ("local:1,inner=adam", "'local:1', with options such as outer=mean"),
        ("local:1,outer=mean,outer=mean", "each at most once"),
        ("local:1,outer_lr=nan", "a number from 1e-06 to 100"),
        ("kasync", "'kasync:2', with the gradients of an update after the colon: a whole number of at least 1"),
        ("kasync:0", "a whole number of at least 1"),
        ("backup:-1", "'backup:1', with the workers that a step does without after the colon"),
        ("ssp:-1", "a whole number of at least 0"),
        ("ssp", "'ssp:3'"),
        ("switch:1.2", "'switch:1', with the share of the samples before the change after the colon: a number from 0"),
        ("switch:-0.1", "'switch:0', with the share"),
        ("switch:0.50", "'switch:0.5', with the share"),
        ("switch:half", "'switch:0.5', with the share"),
        ("switch:0.5,from=local", "from in it is the mode to begin in: sync or async"),
        ("sync:3", "'sync', which takes no number"),
        ("sync,a=b", "none at all"),
        ("sink", "'sync' or 'async'"),
        ("", "'single' or"),
    ],
)
def test_what_is_not_valid(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        values_of(name)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sync", [("sync", 1.0)]),
        ("local:4", [("local:4", 1.0)]),
        ("switch:0.25", [("sync", 0.25), ("async", 1.0)]),
        ("switch:0.25,from=async", [("async", 0.25), ("sync", 1.0)]),
        ("switch:1", [("sync", 1.0)]),
        ("switch:0", [("async", 1.0)]),
        ("switch:0,from=async", [("sync", 1.0)]),
    ],
)
def test_the_stages_of_a_mode(name: str, found: list[tuple[str, float]]) -> None:
    assert [tuple(stage) for stage in stages(name)] == found
    assert (traits(name) is MODES["switch"]) is (len(found) == 2)


def test_the_modes_of_checkpoints_are_those_of_stages_and_unknown_ones() -> None:
    assert in_stages("ssp:2", "switch:0.5", "sync", "of-a-later-version") == (
        "ssp:2",
        "sync",
        "async",
        "of-a-later-version",
    )


def test_a_list_is_split_at_commas_but_not_before_options() -> None:
    assert split("sync, local:16,outer=nesterov,outer_lr=1,async") == [
        "sync",
        "local:16,outer=nesterov,outer_lr=1",
        "async",
    ]
