"""The machine and software of a run, as stored and read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.doctor.environment import environment
from orchestrator.report.repeating import facts
from orchestrator.store.folders import load_environment

pytestmark = pytest.mark.unit


def test_environment_can_be_stored_and_told(tmp_path: Path) -> None:
    found = environment(tmp_path)
    assert set(found) == {"regatta", "python", "packages", "platform", "cpu", "memory_bytes", "commit"}
    assert found["packages"]["numpy"]
    assert found["cpu"]["cores"] >= 1
    assert found["commit"]["job"] is None
    (tmp_path / "environment.json").write_text(json.dumps(found))
    assert load_environment(tmp_path) == found
    rows = dict(facts(found))
    assert rows["memory_bytes"].endswith("GiB")
    assert rows["commit job"] == "not known"


@pytest.mark.parametrize("text", ["", "[]", "{", "\udcff", '{"a": ' * 100_000])
def test_an_unreadable_environment_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "environment.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert load_environment(tmp_path) is None
    assert load_environment(tmp_path / "absent") is None


def test_processor_of_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    found = environment(tmp_path, root=tmp_path)
    assert found["cpu"]["model"] != ""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Fast: 3000\n")
    assert environment(tmp_path, root=tmp_path)["cpu"]["model"] == "Fast: 3000"
