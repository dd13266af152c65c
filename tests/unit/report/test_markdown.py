"""report.md: numbers in tables that no name can break."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from orchestrator.report.markdown import escape, markdown
from orchestrator.report.study import load_study
from orchestrator.results import GradientNoise, Stability
from orchestrator.store.directory import write_comparison
from tests.unit.simulated_runs import a_comparison_named
from tests.unit.stored_runs import store_comparison, store_run

pytestmark = pytest.mark.unit


HOSTILE = "<img src=x onerror=alert(1)>[red]|`x`\x1b[2J\u202e](http://evil.example)"


@pytest.mark.parametrize(
    "name",
    [
        "a|b",
        "`x`",
        "<b>",
        "[a](b)",
        "![a](b)",
        "**x**",
        "_x_",
        "~~x~~",
        "$x$",
        "&lt;",
        "#5",
        "www.x.y",
        "@you",
        ":tada:",
    ],
)
def test_markdown_escape(name: str) -> None:
    escaped = escape(name)
    bare = re.sub(r"\\.", "", escaped)
    assert not re.search(r"[|`<*~$]|&(?!#\d+;)|\]\(|://|www\.|@|(?<!&)#|:\w+:|\b_\w", bare), escaped
    assert "\n" not in escape("a\n# b")


def test_markdown_has_the_numbers_and_no_markup_from_names(tmp_path: Path) -> None:
    store_comparison(tmp_path / "c", {"sync": 10.0, "async": 4.0})
    text = markdown(load_study(tmp_path / "c"), ["charts/loss.png"])
    assert text.startswith("# simulated: sync, async\n")
    assert "| async | 3 | 3/3 |" in text
    assert "![loss](charts/loss.png)" in text
    assert "    batch_size: 25" in text
    assert "| tasks | sync: 2 workers, 1 evaluator; async: 2 workers, 1 chief, 1 ps, 1 evaluator |" in text
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1

    write_comparison(tmp_path / "c", a_comparison_named(HOSTILE))
    shutil.rmtree(tmp_path / "c" / "runs")
    text = markdown(load_study(tmp_path / "c"))
    assert "<img" not in re.sub(r"\\.", "", text)
    assert "](" not in re.sub(r"\\.", "", text)
    assert "http://" not in text


def test_the_noise_scale_is_told_where_it_was_measured(tmp_path: Path) -> None:
    noise = GradientNoise(batch=350.2, signal=1.0, noise=350.2, steps=100)
    for seed in range(3):
        store_run(tmp_path / "c", "sync", seed, 10.0, stability=Stability(gradient_noise=noise))
        store_run(tmp_path / "c", "async", seed, 4.0)
    text = markdown(load_study(tmp_path / "c"))
    assert "gradient noise scale (samples)" in text
    assert "| 350 |" in text
    store_comparison(tmp_path / "d", {"sync": 10.0, "async": 4.0})
    assert "gradient noise" not in markdown(load_study(tmp_path / "d"))
