"""report.html: every name is escaped, and only its own scripts may run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from orchestrator.report import html
from orchestrator.report.markup import data_block, el
from orchestrator.report.study import load_study
from orchestrator.store.metrics import METRICS
from tests.unit.stored_runs import store_comparison, store_run

# Not marked `unit`: it takes seconds, and the whole marked set is to run in 30 s.


HOSTILE = "</script><script>window.hacked=1</script><a href='http://evil.example'>%{x}"


def visible(page: str) -> str:
    """The page without its scripts and styles."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)


def test_elements_escape_text_and_attributes() -> None:
    assert el("p", "<b>", title='"x"') == '<p title="&quot;x&quot;">&lt;b&gt;</p>'
    assert el("p", el("b", "x"), ["&", None]) == "<p><b>x</b>&amp;</p>"
    block = data_block("d", {"name": "</script><!--"})
    assert block.count("<") == 2
    assert json.loads(block.partition(">")[2].rpartition("<")[0]) == {"name": "</script><!--"}


def test_page_is_self_contained_and_allows_only_its_scripts(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"job": HOSTILE, "stop_reason": HOSTILE, "run_id": HOSTILE, "status": "failed"}
    for mode in ("sync", HOSTILE.replace("/", "")):
        for seed in range(2):
            store_run(tmp_path / "c", mode, seed, hosts=True, gpu=HOSTILE, spec={"job": HOSTILE}, **changes)
    page = html.page(load_study(tmp_path / "c"))
    assert len(page.encode()) < 1_500_000
    # The job's own name is shown as it is; of ours and Plotly's, only XML namespaces are left.
    assert set(re.findall(r"(?:https?|wss?|ftp)://[\w.]+", page)) == {"http://www.w3.org", "http://evil.example"}
    shown = visible(page)
    assert "hacked" in shown
    assert "<a href=&#x27;" not in shown.replace("&lt;a href=&#x27;", "")
    assert not re.search(r"<[^>]*\s(?:on\w+|src)=", shown)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 2
    allowed = re.search(r"script-src ([^;]*);", unescape(page[:2000]))
    assert allowed is not None
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert allowed[1].split() == [f"'sha256-{digest}'" for digest in digests]
    assert "default-src &#x27;none&#x27;" in page


def test_a_run_without_metrics_db_is_still_reported(tmp_path: Path) -> None:
    folder = store_comparison(tmp_path / "c")
    for file in folder.rglob(METRICS):
        file.unlink()
    page = html.page(load_study(folder))
    assert "Training loss: not available." in page
    assert "Use async" in page


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Reached val_accuracy &gt;= 0.95 after 10.0 s"),
        ({"to_target": None}, "Did not reach val_accuracy &gt;= 0.95"),
        ({"status": "failed", "stop_reason": "nan"}, "Failed: a loss or weight is not finite (nan)"),
        ({"to_target": None, "status": "failed", "stop_reason": "nan"}, "Failed: a loss or weight is not finite (nan)"),
        ({"to_target": None, "status": "stopped", "stop_reason": "interrupted"}, "Stopped: interrupted"),
    ],
)
def test_the_page_of_a_run_begins_with_how_it_ended(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    store_run(tmp_path, "sync", 0, **changes)
    assert words in html.page(load_study(tmp_path / "runs" / "sync-s0"))
