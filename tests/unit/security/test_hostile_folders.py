"""Untrusted run folders: they are read without executing anything, and links in them are not written through."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest

from orchestrator import api
from orchestrator.errors import UsageError
from orchestrator.store.export import export
from orchestrator.store.metrics import SCHEMA
from tests.unit.security.conftest import Command, assert_harmless, assert_refused

# Not marked `unit`: it takes seconds, and the marked set has thirty.

CHECKPOINT = "checkpoints/0000000010-1/manifest.json"
ESCAPE = "a\x1b]0;owned\x07\x9b2J\u202eb\n<script>alert(1)</script>"
SPEC = {"job": ESCAPE, "mode": ESCAPE, "variant": ESCAPE, "run_id": ESCAPE, "seed": 0, "target": ESCAPE}
DOCUMENTS = [
    "", "null", "[]", "5", '"x"', "{}", "{", "[" * 20_000, '{"a": ' * 20_000, "\0", "\x1b[2J", "NaN", "1e999",
    "9" * 5000, '{"schema": 1}', '{"schema": "\\u001b[2J"}', '{"run_id": "\\u001b[2J", "job": "x", "status": "dead"}',
    json.dumps({"run_id": ESCAPE, "job": ESCAPE, "mode": "sync", "seed": 0, "status": "failed", "tasks": {}}),
    json.dumps({"modes": {ESCAPE: {"runs": []}}, "comparison_id": ESCAPE}),
]  # fmt: skip
DATABASES = [
    "not a database",
    "CREATE VIEW steps AS WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT n FROM x",
    "CREATE TABLE steps (a INT); CREATE TRIGGER t AFTER INSERT ON steps BEGIN DELETE FROM steps; END",
    "CREATE VIRTUAL TABLE steps USING fts5(a)",
    "CREATE TABLE 'x; DROP TABLE steps' (a INT)",
    "CREATE TABLE '../../up' (a INT)",
    "CREATE TABLE steps (a BLOB)",
    "CREATE TABLE steps (step, clock); INSERT INTO steps VALUES ('x', x'00')",
    "CREATE TABLE steps (step INT, clock REAL); INSERT INTO steps VALUES (1e999, 'later')",
    f"{SCHEMA} INSERT INTO events VALUES (0, 1, 'failure', 'worker:0', '{'[' * 50_000}')",
    f"{SCHEMA} INSERT INTO events VALUES ('x', 'y', 'driver', 5, '[]')",
    f"{SCHEMA} INSERT INTO evaluations VALUES (1, 1, 1, 1, 'null', 1, 1)",
    f"{SCHEMA} INSERT INTO evaluations VALUES (1, 'x', 'y', 'z', '{{\"\x1b[2J\": \"x\"}}', 1, 1)",
    f"{SCHEMA} INSERT INTO calls VALUES (1, 'x', 'y', 'z', 'w', 'logs', 'clock')",
    f"{SCHEMA} INSERT INTO tasks VALUES (1, '\x1b[2J', '\x1b[2J', 'pid', 'now')",
    f"{SCHEMA} INSERT INTO host_samples(task, notes) VALUES ('\x1b[2J', '{{')",
]


def database(folder: Path, sql: str) -> None:
    if sql == DATABASES[0]:
        (folder / "metrics.db").write_text(sql)
        return
    with sqlite3.connect(folder / "metrics.db") as made:
        made.executescript(sql)
    made.close()


def run_folder(tmp_path: Path, spec: object = SPEC) -> Path:
    folder = tmp_path / "runs" / "theirs"
    folder.mkdir(parents=True)
    (folder / "spec.yaml").write_text(json.dumps(spec))  # which is YAML, too
    return folder


@pytest.mark.parametrize("command", ["report", "runs"])
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda text: ascii(text)[:20])
@pytest.mark.parametrize("name", ["result.json", "comparison.json"])
def test_documents(regatta: Command, tmp_path: Path, name: str, document: str, command: str) -> None:
    folder = run_folder(tmp_path)
    (folder / name).write_text(document)
    assert_harmless(regatta(command, folder.parent if command == "runs" else folder))


@pytest.mark.parametrize("command", ["report", "watch", "export-metrics"])
@pytest.mark.parametrize("sql", DATABASES, ids=lambda text: text[:40] + text[-20:])
def test_databases(regatta: Command, tmp_path: Path, sql: str, command: str) -> None:
    folder = run_folder(tmp_path)
    database(folder, sql)
    assert_harmless(regatta(command, folder, *(["--once"] if command == "watch" else [])))
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    assert {path.name for path in folder.parent.iterdir()} == {"theirs"}


@pytest.fixture
def nothing_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UsageError("It would start training now.")

    monkeypatch.setattr(api.Execution, "run", refuse)


@pytest.mark.usefixtures("nothing_trains")
@pytest.mark.parametrize("name", ["result.json", "spec.yaml", "comparison.yaml", CHECKPOINT])
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda text: ascii(text)[:20])
def test_what_is_resumed(regatta: Command, tmp_path: Path, name: str, document: str) -> None:
    folder = run_folder(tmp_path, {"job": "digits", "mode": "sync", "seed": 0, "run_id": "theirs"})
    database(folder, SCHEMA)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(document)
    assert_refused(regatta("resume", folder, "--quiet"))


@pytest.mark.usefixtures("nothing_trains")
@pytest.mark.parametrize("sql", DATABASES, ids=lambda text: text[:40] + text[-20:])
def test_databases_of_what_is_resumed(regatta: Command, tmp_path: Path, sql: str) -> None:
    folder = run_folder(tmp_path, {"job": "digits", "mode": "sync", "seed": 0, "run_id": "theirs"})
    database(folder, sql)
    assert_refused(regatta("resume", folder, "--quiet"))


@pytest.mark.parametrize("field", ["job", "seed", "target", "workers"])
@pytest.mark.parametrize("value", [None, [], {}, "x", -1, 1e308, [[[]]], {"a": {"b": 1}}], ids=ascii)
def test_specs_beside_them(regatta: Command, tmp_path: Path, field: str, value: object) -> None:
    folder = run_folder(tmp_path, {"job": "digits", "mode": "sync", "seed": 0, field: value})
    database(folder, SCHEMA)
    assert_harmless(regatta("watch", folder, "--once"))


@pytest.mark.parametrize("name", ["result.json", "comparison.json"])
def test_a_pipe_is_not_waited_for(regatta: Command, tmp_path: Path, name: str) -> None:
    folder = run_folder(tmp_path)
    os.mkfifo(folder / name)
    assert_harmless(regatta("report", folder))
    assert_harmless(regatta("runs", folder.parent))


@pytest.mark.parametrize("name", ["report.md", "report.html", "charts"])
def test_nothing_is_written_where_a_link_leads(regatta: Command, tmp_path: Path, name: str) -> None:
    precious = tmp_path / "precious"
    if name == "charts":
        precious.mkdir()
    else:
        precious.write_text("mine")
    folder = run_folder(tmp_path)
    database(folder, SCHEMA)
    (folder / name).symlink_to(precious)
    said = regatta("report", folder)
    if name == "charts":
        assert_refused(said)
        assert list(precious.iterdir()) == []
    else:
        assert_harmless(said)
        assert precious.read_text() == "mine"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r="])
def test_no_spreadsheet_runs_what_a_table_holds(tmp_path: Path, start: str) -> None:
    formula = f"{start}cmd|' /C calc'!A0"
    with sqlite3.connect(tmp_path / "metrics.db") as made:
        made.executescript(SCHEMA)
        made.execute("INSERT INTO events VALUES (1.5, 1, ?, ?, ?)", (formula, formula, json.dumps({"a": formula})))
        made.execute("INSERT INTO events VALUES (2.5, 1, 'a', 'b', '-1')")
    made.close()
    export(tmp_path, "csv", tmp_path / "csv")
    text = (tmp_path / "csv" / "events.csv").read_bytes().decode()
    assert text.startswith('"time","attempt","kind","task","detail.a","detail.value"\n')
    assert f'1.5,1,"\'{formula}","\'{formula}","\'{formula}",\n' in text
    assert '2.5,1,"a","b",,"\'-1"\n' in text
    export(tmp_path, "parquet", tmp_path / "parquet")
    from pyarrow import parquet

    table = parquet.read_table(tmp_path / "parquet" / "events.parquet")
    assert table["kind"].to_pylist() == [formula, "a"]
