"""Folders of other versions: one of 0.1 is read, reported, exported and resumed; of a later one, its version is said.

`run_of_0.1` was preempted at step 27. Do not make it again with a later version: it is what users of 0.1 have.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.report.stored import load_run
from orchestrator.runs.resume import plan_resume
from orchestrator.store.export import export
from orchestrator.store.metrics import Metrics
from orchestrator.view.feed import Feed
from tests.conftest import regatta

RUN = Path(__file__).with_name("run_of_0.1")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RUN, tmp_path / "preempted"))


def test_it_is_read(run: Path) -> None:
    stored = load_run(run)
    assert (stored.result.status, stored.result.steps, stored.result.samples) == ("preempted", 27, 864)
    assert stored.rows("SELECT COUNT(*) FROM steps") == [(27,)]
    board = Feed(run).update()
    assert (board.phase, board.step) == ("preempted", 27)


def test_it_is_exported(run: Path, tmp_path: Path) -> None:
    written = export(run, "csv", tmp_path / "tables")
    assert "steps.csv" in {path.name for path in written}
    assert len((tmp_path / "tables" / "steps.csv").read_text().splitlines()) == 28


def test_it_is_recovered_without_a_result(run: Path) -> None:
    (run / "result.json").unlink()
    result = load_run(run).result
    assert (result.status, result.steps, result.samples) == ("stopped", 27, 864)


def test_it_continues_at_its_checkpoint(run: Path) -> None:
    planned, start = plan_resume(run, {})
    assert start.startswith("from step 27 (")
    assert planned.resumed is not None
    assert planned.resumed.attempt == 2


@pytest.mark.slow
def test_it_is_resumed_and_reported(run: Path) -> None:
    done = regatta("resume", run, "--json", cwd=run.parent)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["status"], result["samples"], result["attempts"]) == ("succeeded", 64_000, 2)
    with sqlite3.connect(run / "metrics.db") as metrics:
        assert metrics.execute("SELECT COUNT(DISTINCT step), MAX(step) FROM steps").fetchone() == (2000, 2000)
    metrics.close()
    reported = regatta("report", run, cwd=run.parent)
    assert reported.returncode == 0, reported.stderr
    assert (run / "report.html").is_file()


# A later version, as far as this one can tell.


def more_columns(run: Path) -> None:
    with sqlite3.connect(run / "metrics.db") as metrics:
        metrics.execute("ALTER TABLE steps ADD COLUMN energy REAL")
    metrics.close()


def another_field(run: Path) -> None:
    with (run / "spec.yaml").open("a") as spec:
        spec.write("gradient_compression: topk\n")


def another_result(run: Path) -> None:
    document = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(document | {"schema": 2, "energy": {"joules": 1}}))


def another_manifest(run: Path) -> None:
    from workers.checkpoints.manifest import _digest

    (path,) = run.glob("checkpoints/*/manifest.json")
    document = json.loads(path.read_text())
    del document["digest"]
    document |= {"schema": 2}
    path.write_text(json.dumps(document | {"digest": _digest(document)}))


def as_of_a_later_one(run: Path) -> None:
    document = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(document | {"regatta": "7.2.0"}))


CHANGES: list[tuple[Callable[[Path], None], Callable[[Path], object]]] = [
    (more_columns, Metrics),
    (more_columns, lambda run: export(run, "csv", run / "tables")),
    (more_columns, lambda run: plan_resume(run, {})),
    (another_field, lambda run: plan_resume(run, {})),
    (another_result, load_run),
    (another_result, lambda run: plan_resume(run, {})),
    (another_manifest, lambda run: plan_resume(run, {})),
]


@pytest.mark.parametrize(("change", "use"), CHANGES)
def test_the_version_to_use_is_said(run: Path, change: Callable[[Path], None], use: Callable[[Path], object]) -> None:
    change(run)
    with pytest.raises((UsageError, sqlite3.Error)) as raised:
        use(run)
    assert "written by Regatta" not in str(raised.value), "its environment names this version"
    as_of_a_later_one(run)
    with pytest.raises(
        (UsageError, sqlite3.Error), match=r"written by Regatta 7\.2\.0, and this is 0\.[\d.]+: use that"
    ):
        use(run)


@pytest.mark.parametrize("version", ["<b>7</b>", "\x1b[31m7", "7" * 100, 7, None])
def test_a_version_that_is_none_is_not_said(run: Path, version: object) -> None:
    more_columns(run)
    document = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(document | {"regatta": version}))
    with pytest.raises(sqlite3.DatabaseError) as raised:
        Metrics(run)
    assert "written by Regatta" not in str(raised.value)
