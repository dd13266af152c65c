"""Flags to fields of the spec."""

from __future__ import annotations

import json
import re
from typing import Annotated

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from orchestrator.cli.flags import _flagged, _spelled, to_fields
from orchestrator.cli.grouped_help import _HEADINGS
from orchestrator.cli.main import build
from orchestrator.cli.values import parse_seeds, parse_settings
from orchestrator.errors import SpecError, UsageError
from orchestrator.spec.run import RunSpec
from workers.settings import Flag

pytestmark = pytest.mark.unit

FILE_ONLY = {"job", "directory", "learning_rate_scale", "variant", "files_apart", "ends_at_fit", "earlier_fits"}
"""Fields that are no flags: the job reference says the first two, Regatta itself sets the others."""


class Wider(RunSpec):
    """A spec with one more field, written once."""

    warm_up: Annotated[int, Flag("training", metavar="STEPS")] = 7
    """Steps of warm-up, for this test."""


def help_of(command: str, kind: type[RunSpec] = RunSpec) -> str:
    said = CliRunner().invoke(build(kind), [command, "--help"], terminal_width=80, env={"COLUMNS": "80"})
    assert said.exit_code == 0, said.output
    return said.output


def flags(command: str) -> set[str]:
    return set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", help_of(command), re.MULTILINE)) - {"--help"}


def test_every_field_has_a_flag() -> None:
    flagged = {name: flag for name, _, flag in _flagged(RunSpec)}
    assert set(RunSpec.model_fields) - set(flagged) == FILE_ONLY
    spelled = {_spelled(name, flag) for name, flag in flagged.items()}
    assert spelled | {"--json", "--quiet", "--verbose", "--fit"} == flags("run")
    assert spelled - {"--mode"} <= flags("compare")
    assert flags("compare") - flags("run") == {
        *("--modes", "--vary", "--seeds", "--margin"),
        *("--lr-scaling", "--tune-lr", "--predictions"),
    }
    assert flags("plan") == spelled - {"--out", "--run-id"} | {"--json", "--fit"}
    assert spelled - {"--out"} <= flags("submit")


@pytest.mark.parametrize("command", ["run", "compare", "plan", "submit", "kuberay"])
def test_help_is_grouped_shows_defaults_and_fits(command: str) -> None:
    text = help_of(command)
    headings = re.findall(r"^(\w+):$", text, re.MULTILINE)
    assert headings == [heading for heading in _HEADINGS if heading in headings]
    assert {"Training", "Data", "Cluster", "Faults", "Output"} <= set(headings)
    assert max(map(len, text.splitlines())) <= 80
    said = " ".join(text.split())
    assert "--batch-size" in said
    assert "Samples per batch and replica." in said
    assert "--checkpoint-seconds <float> Seconds between checkpoints; 0 turns this off. Default: 30." in said


def test_a_field_is_added_by_one_edit() -> None:
    """A field of the spec, written once, is a flag of every command, in the JSON Schema, and in the plan."""
    assert "--warm-up STEPS Steps of warm-up, for this test. Default: 7." in " ".join(help_of("run", Wider).split())
    schema = json.loads(CliRunner().invoke(build(Wider), ["schema"]).output)
    assert schema["properties"]["warm_up"]["description"] == "Steps of warm-up, for this test."
    said = CliRunner().invoke(build(Wider), ["plan", "digits", "--warm-up", "9", "--json"])
    assert json.loads(said.stdout)["spec"]["warm_up"] == 9


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


def test_what_was_not_given_is_left_out() -> None:
    given_ = {"target": None, "params": None, "workers": None, "seeds": None, "cache": False}
    assert to_fields(given_) == {"cache": False}


def test_what_was_given() -> None:
    given_ = {"target": "a>1", "params": ["x=1"], "seeds": "2", "modes": "sync, async"}
    assert to_fields(given_ | {"ps": 2}) == {
        "target": "a>1",
        "params": {"x": "1"},
        "seeds": 2,
        "modes": ("sync", "async"),
        "ps": 2,
    }
