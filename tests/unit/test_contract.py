"""docs/contract.md against the code: every promised name is there, and nothing is promised that is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from orchestrator import errors, results
from orchestrator.store.metrics import TABLES

pytestmark = pytest.mark.unit

PAGE = (Path(__file__).parents[2] / "docs/contract.md").read_text()
NAMED = set(re.findall(r"`([a-z_0-9]+)`", PAGE))
RESULT = [
    results.RunResult, results.Seconds, results.Parts, results.Throughput, results.TargetResult,
    results.Staleness, results.Finding, results.Stability, results.GradientNoise, results.Utilization,
    results.WorkerTime, results.Timing, results.FailureRecord,
]  # fmt: skip
COMPARISON = [
    results.Comparison, results.ModeResults, results.Summary, results.Verdict, results.Answer, results.Interval,
]  # fmt: skip
SWEEP = [results.Sweep, results.Trial]


def names(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


@pytest.mark.parametrize("model", [*RESULT, *COMPARISON, *SWEEP], ids=lambda model: model.__name__)
def test_every_field_is_on_the_page(model: type[BaseModel]) -> None:
    assert names(model) <= NAMED


def test_the_tables_name_fields_that_there_are() -> None:
    for heading, model in (("result.json", results.RunResult), ("comparison.json", results.Comparison)):
        section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
        listed = {
            name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
        }
        assert listed == names(model)


def test_codes_words_and_tables() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RegattaError)]
    assert codes == {kind.exit_code for kind in kinds}
    assert set(get_args(results.Status)) <= NAMED
    assert set(TABLES) <= NAMED
