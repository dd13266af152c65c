"""Run folders: everything written is read back, whole or not at all, whatever the folder's name."""

from __future__ import annotations

import atexit
import json
import math
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import UsageError
from orchestrator.results import RunResult
from orchestrator.spec.run import RunSpec
from orchestrator.store.directory import (
    RESULT,
    RunStore,
    new_id,
    to_json,
    write_atomically,
)
from orchestrator.store.documents import to_text
from orchestrator.store.folders import find_runs, load_comparison, load_result
from orchestrator.store.locks import claim_directory
from orchestrator.store.metrics import METRICS, Metrics
from tests.made import in_order, status
from workers import files
from workers.messages import Task
from workers.news import Evaluation, GpuSample, HostSample, ReplicaState, ReplicaStatus, Stamp, StepBatch

pytestmark = pytest.mark.unit

W0 = Task("worker", 0)
HOSTILE_NAMES = ["a b", "a#b", "a?mode=memory", "50%41", "é…", "a\nb", "a'b\"c", "-rf", "~", "$HOME", ";x", "a:b"]


def batch(first: int, losses: list[float], staleness: list[float] | None = None) -> StepBatch:
    count = len(losses)
    return StepBatch(
        run_id="r",
        worker=0,
        steps=np.arange(first, first + count),
        clock=np.arange(count) / 10,
        losses=np.array(losses),
        staleness=None if staleness is None else np.array(staleness),
        seconds=0.5,
        logs={"loss": float(np.mean(losses))},
    )


def sample(**changes: Any) -> HostSample:
    gpu = GpuSample("GPU-1", "H100", 50.0, 1, 2, None, 70.0, 40.0)
    fields = {"gpus": (gpu,), "notes": ("a note",)} | changes
    return HostSample(1.5, 100.0, 2_000, 50.0, None, 0.0, 0.0, 0.0, 0.0, **fields)


def result(**changes: Any) -> RunResult:
    fields = {"run_id": "r", "job": "digits", "mode": "sync", "seed": 0, "status": "succeeded", "tasks": {"worker": 2}}
    return RunResult(**(fields | changes))  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path)


def test_everything_in_a_status_is_stored(store: RunStore) -> None:
    stamp = Stamp("r", 2, 128, 0.1, final=True)
    store.add(
        3,
        ReplicaStatus(
            W0,
            ReplicaState.TRAINING,
            in_order(
                batches=(batch(1, [0.5, math.nan], [0.0, 1.0]), batch(3, [math.inf])),
                evaluations=(Evaluation(stamp, {"val_loss": 0.25}, 0.1),),
                samples=(sample(), sample(gpus=(), notes=())),
            ),
            log=b"hello\n",
        ),
    )
    store.event(3, "failure", W0, summary='it\'s "over"\n')
    store.close()
    metrics = Metrics(store.path)
    assert metrics.rows("SELECT * FROM steps") == [
        (3, 1, 0, 0.0, 0.5, 0.0),
        (3, 2, 0, 0.1, None, 1.0),  # SQLite has no NaN
        (3, 3, 0, 0.0, math.inf, None),
    ]
    assert metrics.column("SELECT last_step FROM calls") == [2, 3]
    assert metrics.rows("SELECT * FROM evaluations") == [(3, 2, 128, 0.1, '{"val_loss": 0.25}', 0.1, 1)]
    hosts = metrics.rows("SELECT * FROM host_samples")
    assert hosts[0] == (3, "worker:0", 1.5, 100.0, 2000, 50.0, None, 0.0, 0.0, 0.0, 0.0, '["a note"]')
    assert hosts[1][-1] == "[]"
    gpus = metrics.rows("SELECT * FROM gpu_samples")
    assert gpus == [(3, "worker:0", 1.5, "GPU-1", "H100", 50.0, 1, 2, None, 70.0, 40.0)]
    kind, task, detail = metrics.rows("SELECT kind, task, detail FROM events")[0]
    assert (kind, task, json.loads(detail)) == ("failure", "worker:0", {"summary": 'it\'s "over"\n'})
    metrics.close()
    assert (store.path / "logs" / "worker-0.log").read_bytes() == b"hello\n"


def test_a_reader_sees_committed_rows_while_the_run_trains(store: RunStore) -> None:
    reader = Metrics(store.path)
    store.add(1, status(W0, batch(1, [0.5])))
    assert reader.column("SELECT COUNT(*) FROM steps") == [0]
    store.commit()
    assert reader.column("SELECT COUNT(*) FROM steps") == [1]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.rows("DELETE FROM steps")
    store.close()  # with a reader still connected
    assert reader.column("SELECT COUNT(*) FROM steps") == [1]
    reader.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from orchestrator.store.directory import RunStore
store = RunStore(Path(sys.argv[1]))
store.event(1, "kept")
store.commit()
store.event(1, "lost")
store.append_log("worker:0", b"kept")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_committed_rows_survive_a_killed_driver(tmp_path: Path) -> None:
    died = subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    assert died.returncode == -9
    metrics = Metrics(tmp_path)
    assert metrics.column("SELECT kind FROM events") == ["kept"]
    metrics.close()
    assert (tmp_path / "logs" / "worker-0.log").read_bytes() == b"kept"


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_folder_of_any_name_works(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = claim_directory(Path(name))
    store = RunStore(path)
    store.write_spec({"job": name, "params": {name: name}})
    store.event(1, "launch")
    store.close()
    store.write_result(result(run_id=name))
    metrics = Metrics(path)
    assert metrics.column("SELECT kind FROM events") == ["launch"]
    metrics.close()
    assert load_result(path).run_id == name
    assert list(find_runs(tmp_path)) == [tmp_path / name]
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@given(st.text(max_size=60))
@settings(deadline=None)
def test_a_new_id_is_a_valid_and_unique_run_id(name: str) -> None:
    run_id = new_id(name)
    assert RunSpec.make({"job": "digits", "run_id": run_id}).run_id == run_id
    assert new_id(name) != run_id or new_id(name) != run_id


def test_ids_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.fullmatch(r"my-job-\d{8}-\d{6}-[0-9a-f]{4}", new_id("My Job!"))


# Claiming a folder.


@pytest.fixture
def at_exit(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """Calls registered with `atexit`."""
    calls: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", lambda call, **options: calls.append(lambda: call(**options)))
    return calls


def test_a_claimed_folder_is_taken_until_the_process_ends(tmp_path: Path, at_exit: list[Callable[[], None]]) -> None:
    path = claim_directory(tmp_path / "deep" / "run")
    with pytest.raises(UsageError, match="is taken"):
        claim_directory(path)
    at_exit[0]()
    assert list(path.iterdir()) == []
    assert claim_directory(path) == path


def test_a_folder_with_a_run_stays_taken(tmp_path: Path, at_exit: list[Callable[[], None]]) -> None:
    path = claim_directory(tmp_path / "run")
    RunStore(path).close()
    at_exit[0]()
    assert sorted(entry.name for entry in path.iterdir()) == ["driver.lock", "logs", METRICS]
    with pytest.raises(UsageError, match="not empty"):
        claim_directory(path)


def test_only_one_of_many_concurrent_claims_succeeds(tmp_path: Path) -> None:
    won: list[int] = []
    start = threading.Barrier(8)

    def claim(number: int) -> None:
        start.wait()
        try:
            claim_directory(tmp_path / "run")
        except UsageError:
            return
        won.append(number)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_the_claim_of_a_command_that_was_killed_ends_with_it(tmp_path: Path) -> None:
    code = "import os, sys; from pathlib import Path; from orchestrator.store.locks import claim_directory;"
    code += "claim_directory(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, tmp_path / "run"], check=False)
    assert (tmp_path / "run" / ".claim").exists()
    assert claim_directory(tmp_path / "run") == tmp_path / "run"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file", "is taken: it is not empty, or not a folder"),
        ("full", "is taken"),
        ("file/run", "cannot be written to (Not a directory)"),
        ("x" * 300, "cannot be written to (File name too long)"),
        ("loop/run", "cannot be written to (Too many levels of symbolic links)"),
    ],
)
def test_folders_that_cannot_be_claimed(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        claim_directory(tmp_path / name)
    assert caught.value.message.startswith(("out: ", "out or run_id: "))
    assert (tmp_path / "full" / "precious").exists()


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "append", refuse)  # tests may run as root, for whom file permissions do not apply
    with pytest.raises(UsageError, match=r"cannot be written to \(Permission denied\)"):
        claim_directory(tmp_path)


# Documents.


def test_a_reader_never_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    write_atomically(path, "old")

    def fail(_: int) -> None:
        assert path.read_text() == "old"
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new" * 100_000)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def parse_strictly(text: str) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


@given(JSON_VALUES)
@settings(deadline=None)
def test_any_value_becomes_strict_json(value: Any) -> None:
    parse_strictly(to_text(value))
    assert parse_strictly(to_json(value)) == parse_strictly(to_text(value))


@given(st.dictionaries(st.text(max_size=5), st.floats(), max_size=4))
@settings(deadline=None)
def test_a_result_is_read_back_unchanged(final: dict[str, float]) -> None:
    before = result(final=final, seconds={"training": math.inf})
    after = RunResult.model_validate(parse_strictly(to_json(before.to_json())))
    assert repr(after) == repr(before)  # NaN is not equal to itself


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is not the folder of a finished run: it holds no result.json"),
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[1]", "was not written by this version of Regatta: the document"),
        ("{}", "was not written by this version of Regatta: run_id: Field required"),
        ("[" * 100_000, "cannot be read"),
        ('{"schema": 1, "unknown": 2}', "was not written by this version of Regatta"),
        ("\udcff", "cannot be read"),
    ],
)
def test_a_file_that_is_not_a_result_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / RESULT).write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        load_result(tmp_path)
    assert "\n" not in caught.value.message
    with pytest.raises(UsageError, match=r"comparison\.json"):
        load_comparison(tmp_path)


# The list of runs.


def test_a_folder_without_runs_lists_none(tmp_path: Path) -> None:
    assert list(find_runs(tmp_path / "none")) == []
    (tmp_path / "file").write_text("")
    assert list(find_runs(tmp_path / "file")) == []
