"""Versions in a folder, which of them are served, and what can be served at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.serving.source import folder_of
from orchestrator.serving.versions import Policy, parse_labels, parse_policy, versions_in

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "chosen"), [("latest", {7}), ("latest:2", {7, 3}), ("all", {1, 3, 7}), ("1,3", {1, 3}), ("2,3", {3})]
)
def test_policies(text: str, chosen: set[int]) -> None:
    assert parse_policy(text).choose({1, 3, 7}) == chosen


@pytest.mark.parametrize("text", ["", "newest", "latest:0", "latest:x", "1,,2", "-1", "1.5", "1" * 30])
def test_other_policies_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--versions"):
        parse_policy(text)


@pytest.mark.parametrize("pairs", [{"a b": "1"}, {"a": "x"}, {"": "1"}, {"a": "-1"}, {"a/b": "1"}])
def test_other_labels_are_refused(pairs: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="--label"):
        parse_labels(pairs)


def test_only_whole_versions_count(tmp_path: Path) -> None:
    for name in ("1", "002", "x3", "4", ".5", "6.tmp", "-7"):
        (tmp_path / name).mkdir()
        if name != "4":  # still being written
            (tmp_path / name / "saved_model.pb").touch()
    (tmp_path / "8").touch()
    assert set(versions_in(tmp_path)) == {1, 2}
    assert versions_in(tmp_path / "missing") == {}
    assert Policy().choose(versions_in(tmp_path)) == {2}


def test_what_cannot_be_served_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has nothing to serve"):
        folder_of(tmp_path / "missing")
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(UsageError, match="is one SavedModel"):
        folder_of(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "spec.yaml").write_text("job: digits")
    with pytest.raises(UsageError, match="has no model"):
        folder_of(tmp_path / "run")
