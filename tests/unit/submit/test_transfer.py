"""Encoding a run directory as text and decoding it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ClusterError, UsageError
from orchestrator.submit import transfer


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    log = b"\xff\n" * 70_000
    for name, data in {"result.json": b"{}", "logs/worker-0.log": log, "empty": b"", ".claim": b""}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_what_arrives_is_what_was_sent(run: Path, tmp_path: Path) -> None:
    lines = ["2026-01-01 INFO something", *transfer.pack(run), "afterwards"]
    files = transfer.unpack(lines)
    assert set(files) == {"result.json", "logs/worker-0.log", "empty"}
    (tmp_path / "back").mkdir()
    transfer.write(files, tmp_path / "back")
    assert (tmp_path / "back" / "logs" / "worker-0.log").read_bytes() == b"\xff\n" * 70_000
    assert set(transfer.unpack(transfer.pack(run, "result.json"))) == {"result.json"}


def test_missing_and_too_large_runs_are_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="nothing to fetch"):
        list(transfer.pack(run / "nowhere"))
    with pytest.raises(UsageError, match="nothing to fetch"):
        list(transfer.pack(run, "../run/result.json"))
    monkeypatch.setattr(transfer, "MAX_BYTES", 1000)
    with pytest.raises(UsageError, match="rsync"):
        list(transfer.pack(run))


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", "", "."])
def test_paths_outside_the_folder_are_refused(run: Path, name: str) -> None:
    lines = list(transfer.pack(run, "result.json"))
    manifest = json.loads(lines[0].removeprefix(transfer.BEGIN))
    text = json.dumps({"files": {name: manifest["files"]["result.json"]}})
    digest = hashlib.sha256(text.encode()).hexdigest()
    with pytest.raises(ClusterError, match="outside"):
        transfer.unpack([transfer.BEGIN + text, *lines[1:-1], transfer.END + digest])


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_all_damage_is_detected(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    (folder / "a").write_bytes(bytes(range(256)) * 8)
    (folder / "b").write_bytes(b"other")
    intact = transfer.unpack(transfer.pack(folder))
    text = "\n".join(transfer.pack(folder))
    where = data.draw(st.integers(0, len(text) - 1))
    what = data.draw(st.sampled_from(["", "A", "0", "\n", "{", "=", "é"]))
    damaged = text[:where] + what + text[where + 1 :]
    try:
        assert transfer.unpack(damaged.splitlines()) == intact
    except ClusterError:
        return
