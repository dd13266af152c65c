"""`regatta advise` for real: it measures, predicts, and uses what it has measured again."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.conftest import regatta

pytestmark = pytest.mark.slow


def test_a_job_is_measured_once_and_predicted(tmp_path: Path) -> None:
    asked = ("advise", "digits", "--minutes", "0.3", "--workers-up-to", "3", "--price", "cpu=0.04", "--json", "-q")
    first = regatta(*asked, cwd=tmp_path, timeout=400)
    assert first.returncode == 0, first.stderr
    document = json.loads(first.stdout)
    assert not document["probe"]["reused"]
    rows = {(row["mode"], row["workers"]): row for row in document["predictions"] if row["samples_per_update"] < 96}
    assert {("single", 1), ("sync", 2), ("async", 2), ("async", 3)} <= {*rows}
    for kind in (("single", 1), ("sync", 2), ("async", 2), ("async", 3)):
        assert rows[kind]["update_seconds"]["value"] > 0, kind
    for row in rows.values():
        if row["update_seconds"]["value"] is None:  # a mode that the probe does not measure
            assert row["update_seconds"]["reason"], row
            continue
        assert row["update_seconds"]["low"] <= row["update_seconds"]["value"] <= row["update_seconds"]["high"]
        assert row["samples_to_target"]["value"] is not None or row["samples_to_target"]["reason"]
    assert document["probe"]["gradient_noise_scale"] is None or document["probe"]["gradient_noise_scale"] > 0
    assert Path(tmp_path, document["file"]).is_file()

    begun = time.monotonic()
    again = json.loads(regatta(*asked, cwd=tmp_path, timeout=400).stdout)
    assert again["probe"]["reused"]
    assert time.monotonic() - begun < 60  # nothing was launched; loading the job takes most of it
    assert again["predictions"] == document["predictions"]

    runs = sorted(Path(tmp_path, document["probe"]["folder"], "probes").glob("sync-2-s0-[a-e]"))
    assert runs
    simulated = regatta("simulate", "--from", runs[-1], "--workers", "2,4", "--json", cwd=tmp_path)
    assert simulated.returncode == 0, simulated.stderr
    assert json.loads(simulated.stdout)["exchange_ms"] > 0
