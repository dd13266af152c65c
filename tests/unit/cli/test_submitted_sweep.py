"""A sweep that is submitted is the one that was typed: its flags on the head make the same spec."""

from __future__ import annotations

import pytest

from orchestrator.cli.sweep import as_flags, searched
from orchestrator.errors import UsageError
from orchestrator.spec.run import RunSpec
from orchestrator.spec.sweep import SweepSpec

pytestmark = pytest.mark.unit


def test_flags_of_a_sweep_with_and_without_arguments() -> None:
    run = RunSpec.make({"job": "train.py", "params": {"args": ["--lr", "{lr}", "--name", "a b"]}})
    spec = SweepSpec(
        run=run, params={"args.lr": "0.1..0.5", "mode": "sync,async"}, trials=3, metric="mae", direction="minimize",
        prune=False,
    )  # fmt: skip
    judged = ["--trials", "3", "--metric", "mae", "--direction", "minimize", "--no-prune"]
    assert as_flags(spec) == [
        "--param", "lr=0.1..0.5", "--param", "mode=sync,async", *judged, "--", "--lr", "{lr}", "--name", "a b",
    ]  # fmt: skip
    fields_only = spec.model_copy(update={"params": {"params.hidden": "8,16"}, "prune": True})
    assert as_flags(fields_only) == ["--param", "params.hidden=8,16", *judged[:-1]]


def test_a_parameter_that_is_given_twice() -> None:
    assert searched(["lr=1,2", "x=a,b"]) == {"lr": "1,2", "x": "a,b"}
    with pytest.raises(UsageError, match="given twice"):
        searched(["lr=1,2", "lr=3,4"])
