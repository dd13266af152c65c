"""Flags to fields of the spec."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cli import main
from orchestrator.cli.flags import parse_seeds, parse_settings, to_fields
from orchestrator.errors import SpecError, UsageError
from orchestrator.spec.run import RunSpec

pytestmark = pytest.mark.unit

NOT_FIELDS = {"target", "as_json", "quiet", "verbose"}
RENAMED = {"target_metric": "target", "set_": "params", "worker_label": "worker_labels", "env_secret": "env_secrets"}
FILE_ONLY = {"learning_rate_scale", "variant"}
"""Fields that Regatta itself sets, kept in a run's spec.yaml."""


def flags(command: object) -> set[str]:
    names = set(inspect.signature(command).parameters) - NOT_FIELDS  # type: ignore[arg-type]
    return {RENAMED.get(name, name) for name in names}


def test_every_field_has_a_flag_and_every_flag_a_field() -> None:
    fields = set(RunSpec.model_fields) - {"job", "directory"} - FILE_ONLY
    assert flags(main.run) == fields
    assert fields - {"mode"} <= flags(main.compare) <= fields | set(RunSpec.COMPARE_ONLY)
    assert flags(main.plan) < fields


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("5", 5), (" 5 ", 5), ("1", 1), ("5,", (5,)), ("0,1,2", (0, 1, 2)), (" 0 , 7 ", (0, 7)), ("0,", (0,))],
)
def test_seeds(text: str, seeds: object) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", " ", ",", "0", "-1", "-1,", "0,-2", "five", "1.5", "0..3", "1;2", "9" * 5000])
def test_wrong_seeds(text: str) -> None:
    with pytest.raises(SpecError, match=r"^seeds: ") as caught:
        parse_seeds(text)
    assert repr(text) in caught.value.message


@given(st.text())
@settings(deadline=None)
def test_seeds_never_fail_otherwise(text: str) -> None:
    try:
        seeds = parse_seeds(text)
    except SpecError:
        return
    assert seeds if isinstance(seeds, int) else min(seeds) >= 0


def test_settings() -> None:
    given_ = ["hidden=64", " rate = 1e-3", "name=a=b", "empty=", "hidden=128"]
    assert parse_settings(given_) == {"hidden": "128", "rate": " 1e-3", "name": "a=b", "empty": ""}


@pytest.mark.parametrize("setting", ["hidden", "=64", " =64", ""])
def test_wrong_settings(setting: str) -> None:
    with pytest.raises(UsageError, match="name=value") as caught:
        parse_settings([setting])
    assert repr(setting) in caught.value.message


def test_what_was_not_given_is_none() -> None:
    fields = to_fields({"target": "digits", "target_metric": None, "set_": None, "workers": None, "seeds": None})
    assert fields == {"target": None, "workers": None}


def test_what_was_given() -> None:
    given_ = {"target": "digits", "target_metric": "a>1", "set_": ["x=1"], "seeds": "2", "modes": "sync, async"}
    assert to_fields(given_ | {"ps": 2}) == {
        "target": "a>1",
        "params": {"x": "1"},
        "seeds": 2,
        "modes": ("sync", "async"),
        "ps": 2,
    }
