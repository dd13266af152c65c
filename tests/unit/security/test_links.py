"""Links, pipes, devices and huge files where files of ours are expected: nothing is read or written through them."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import UsageError
from orchestrator.report import write_reports
from orchestrator.store import documents
from orchestrator.store.directory import RunStore
from orchestrator.store.export import export
from orchestrator.store.folders import load_environment, load_spec
from orchestrator.store.locks import check_not_driven
from orchestrator.store.metrics import SCHEMA, Metrics
from tests.made import status
from tests.unit.security.conftest import Command, assert_refused
from workers import files
from workers.checkpoints.storage import LocalStorage
from workers.messages import Task
from workers.news import StepBatch

# Not marked `unit`: reports take seconds, and the marked set has thirty.

SECRET = "s3cr3t-of-somebody"
STEP = StepBatch("run", 0, np.array([1]), np.array([0.1]), np.array([0.5]), None, 0.1)


def link(path: Path, folder: Path) -> None:
    private = folder / "private"
    private.write_text(json.dumps({"regatta": SECRET, "job": SECRET}))
    path.symlink_to(private)


def pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def device(path: Path, _: Path) -> None:
    path.symlink_to("/dev/zero")


def huge(path: Path, _: Path) -> None:
    with path.open("wb") as file:
        file.truncate(8 << 30)


OBSTACLES = [link, pipe, device, huge]
Obstacle = Callable[[Path, Path], None]


def trained(folder: Path) -> Path:
    """A run's folder, without documents."""
    folder.mkdir(exist_ok=True)
    with sqlite3.connect(folder / "metrics.db") as made:
        made.executescript(SCHEMA)
    made.close()
    return folder


@pytest.mark.parametrize("place", OBSTACLES)
@pytest.mark.parametrize("name", ["environment.json", "spec.yaml", "plan.json", "result.json", "comparison.json"])
def test_reports_read_regular_files_only(tmp_path: Path, name: str, place: Obstacle) -> None:
    run = trained(tmp_path / "run")
    (run / "spec.yaml").write_text("job: digits\nmode: sync\nseed: 0\nrun_id: run\n")
    (run / name).unlink(missing_ok=True)
    place(run / name, tmp_path)
    try:
        write_reports(run)
    except UsageError as error:
        assert SECRET not in error.message
    for written in run.glob("report.*"):
        assert SECRET not in written.read_text()


@pytest.mark.parametrize("place", OBSTACLES)
def test_each_reader_refuses_them(tmp_path: Path, place: Obstacle) -> None:
    for name in ("environment.json", "spec.yaml", "result.json"):
        place(tmp_path / name, tmp_path)
    assert load_environment(tmp_path) is None
    with pytest.raises(UsageError, match=r"spec\.yaml"):
        load_spec(tmp_path)
    with pytest.raises(OSError, match=r"link|regular|larger"):
        documents.read_text(tmp_path / "result.json")


@pytest.mark.parametrize("place", [link, pipe, device])
def test_metrics_are_read_from_a_regular_file(tmp_path: Path, place: Obstacle) -> None:
    place(tmp_path / "metrics.db", tmp_path)
    with pytest.raises(sqlite3.OperationalError, match=r"link|regular"):
        Metrics(tmp_path)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE steps (attempt INT, step INT, loss REAL GENERATED ALWAYS AS (zeroblob(1000000000)))",
        "CREATE TABLE steps (attempt INT, step INT, worker INT, clock REAL, loss REAL, staleness REAL CHECK (1))",
        "CREATE TABLE more (a INT)",
        f"{SCHEMA} CREATE INDEX slow ON steps (zeroblob(step))",
        f"{SCHEMA} CREATE VIEW all_steps AS SELECT * FROM steps",
    ],
)
def test_metrics_have_exactly_our_layout(tmp_path: Path, sql: str) -> None:
    with sqlite3.connect(tmp_path / "metrics.db") as made:
        made.executescript(sql)
    made.close()
    with pytest.raises(sqlite3.DatabaseError, match="another layout than this version"):
        Metrics(tmp_path)


def test_no_value_is_read_that_is_too_long(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "metrics.db") as made:
        made.executescript(SCHEMA)
        made.execute("INSERT INTO events(kind, detail) VALUES ('note', zeroblob(100000000))")
    made.close()
    metrics = Metrics(tmp_path)
    with pytest.raises(sqlite3.DataError, match="too big"):
        metrics.rows("SELECT detail FROM events")
    metrics.close()


# Writing.


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    path = tmp_path / "precious"
    path.write_text("mine")
    return path


@pytest.mark.parametrize("name", ["driver.lock", "metrics.db", "metrics.db-wal"])
def test_a_run_does_not_write_through_links_in_its_folder(tmp_path: Path, precious: Path, name: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / name).symlink_to(precious)
    try:
        store = RunStore(run)
        store.add(1, status(Task("worker", 0), STEP))
        store.close()
    except (UsageError, OSError):
        pass
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("name", ["logs", "tensorboard", "checkpoints"])
def test_a_folder_of_a_run_that_is_a_link_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "private").mkdir()
    run = tmp_path / "run"
    run.mkdir()
    (run / name).symlink_to(tmp_path / "private")
    with pytest.raises(UsageError, match="is a link"):
        RunStore(run)
    assert not list((tmp_path / "private").iterdir())


def test_logs_are_not_written_through_links(tmp_path: Path, precious: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    store = RunStore(run)
    (run / "logs" / "worker-0.log").symlink_to(precious)
    store.append_log(Task("worker", 0), b"words")
    assert store.problem is not None
    store.close()
    assert store.lost == "5 bytes of logs"
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("name", ["spec.yaml", "plan.json", "environment.json", "result.json"])
def test_documents_take_the_place_of_a_link(tmp_path: Path, precious: Path, name: str) -> None:
    (tmp_path / name).symlink_to(precious)
    files.write_atomically(tmp_path / name, "new")
    assert precious.read_text() == "mine"
    assert (tmp_path / name).read_text() == "new"
    assert not (tmp_path / name).is_symlink()


def test_temporary_names_cannot_be_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    opened = files.create

    def create(path: Path, mode: int = 0o666) -> object:
        names.append(path.name)
        return opened(path, mode)

    monkeypatch.setattr(files, "create", create)
    for _ in range(20):
        files.write_atomically(tmp_path / "result.json", "x")
    assert len(set(names)) == 20
    assert not any(str(os.getpid()) in name.split(".") for name in names)


def test_what_is_in_the_way_of_a_temporary_file_is_left_alone(tmp_path: Path, precious: Path) -> None:
    (tmp_path / "there").symlink_to(precious)
    with pytest.raises(FileExistsError):
        files.create(tmp_path / "there")
    with pytest.raises(OSError, match="levels of symbolic links"):
        files.append(tmp_path / "there")
    assert precious.read_text() == "mine"


def test_checkpoints_are_not_written_through_links(tmp_path: Path, precious: Path) -> None:
    storage = LocalStorage(tmp_path / "checkpoints")
    storage.root.mkdir()
    (storage.root / ".lock").symlink_to(precious)
    with pytest.raises(OSError, match="levels of symbolic links"), storage.locked():
        pass
    assert precious.read_text() == "mine"
    (storage.root / "claim").symlink_to(precious)
    with pytest.raises(OSError, match="link"):
        storage.read("claim", 100)


def test_exported_tables_replace_links(tmp_path: Path, precious: Path) -> None:
    run = trained(tmp_path / "run")
    out = tmp_path / "out"
    out.mkdir()
    (out / "steps.csv").symlink_to(precious)
    export(run, "csv", out)
    assert precious.read_text() == "mine"
    assert (out / "steps.csv").read_text().startswith('"attempt"')


def test_a_locked_file_that_is_a_link_is_named(tmp_path: Path, precious: Path) -> None:
    (tmp_path / "driver.lock").symlink_to(precious)
    with pytest.raises(UsageError, match=r"driver\.lock cannot be opened"):
        check_not_driven(tmp_path)


# Folders of other users.

STRANGER = 1234


def as_a_reader(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`regatta`, without what root may do to files of others: of these it may only read."""
    if os.getuid() != 0:
        pytest.skip("files of another user can only be made by root")
    return subprocess.run(
        ["setpriv", "--bounding-set=-dac_override,-dac_read_search", sys.executable, "-m", "orchestrator.cli.main",
         *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def give_away(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, STRANGER, STRANGER)


def stored_run(folder: Path, *, ended: bool) -> RunStore:
    folder.mkdir()
    store = RunStore(folder)
    store.write_spec({"job": "digits", "mode": "sync", "seed": 0, "run_id": "run"})
    store.add(1, status(Task("worker", 0), STEP))
    store.commit()
    if ended:
        store.close()
    return store


def test_a_finished_run_is_read_without_the_right_to_write(tmp_path: Path) -> None:
    stored_run(tmp_path / "run", ended=True)
    give_away(tmp_path / "run")
    done = as_a_reader("watch", tmp_path / "run", "--once")
    assert done.returncode == 0, done.stderr
    assert "digits" in done.stdout + done.stderr
    out = tmp_path / "out"
    done = as_a_reader("export-metrics", tmp_path / "run", "--out", out)
    assert done.returncode == 0, done.stderr
    assert list(out.glob("steps.*"))


def test_a_run_that_cannot_be_read_is_never_empty_and_fine(tmp_path: Path) -> None:
    store = stored_run(tmp_path / "run", ended=False)
    give_away(tmp_path / "run")
    (tmp_path / "run" / "metrics.db").chmod(0o600)
    done = as_a_reader("watch", tmp_path / "run", "--once")
    store.close()
    assert done.returncode == 2, done.stdout
    assert "metrics.db" in done.stderr
    assert "Traceback" not in done.stderr


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.unit.security.test_links import stored_run
stored_run(Path(sys.argv[1]), ended=False)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("command", [("watch", "--once"), ("export-metrics",)], ids=lambda words: words[0])
@pytest.mark.parametrize("is_alive", [True, False])
def test_an_unfinished_run_of_another_user_is_read_or_refused(
    tmp_path: Path, is_alive: bool, command: tuple[str, ...]
) -> None:
    """Its metrics are partly in the log beside them, as its driver left them."""
    run = tmp_path / "run"
    if is_alive:
        store = stored_run(run, ended=False)
    else:
        assert subprocess.run([sys.executable, "-c", KILLED, run], check=False).returncode == -signal.SIGKILL
    assert (run / "metrics.db-wal").stat().st_size
    give_away(run)
    out = ("--out", tmp_path / "out") if command[0] == "export-metrics" else ()
    done = as_a_reader(command[0], run, *command[1:], *out)
    if is_alive:
        store.close()
    assert "Traceback" not in done.stderr
    if done.returncode:
        assert (done.returncode, "metrics.db" in done.stderr) == (2, True)
    elif out:
        (table,) = (tmp_path / "out").glob("steps.*")
        assert pq.read_table(table).num_rows == 1
    else:
        assert "worker:0  training" in done.stdout, "which only metrics.db tells"


def test_a_spec_file_that_the_user_names_may_be_a_link(regatta: Command, tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text("job: digits\nmode: no\n")
    (tmp_path / "named.yaml").symlink_to(tmp_path / "real.yaml")
    said = regatta("plan", "named.yaml")
    assert_refused(said)
    assert "mode" in said.err
