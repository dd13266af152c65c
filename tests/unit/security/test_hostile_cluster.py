"""What answers as Ray's Jobs API and means harm: endless, huge, slow, nonsense, in the name of others, or an archive
that would be written elsewhere. Each command ends with one paragraph, and nothing is written outside of its folder.

A real server, on a port of its own.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import time
import zlib
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.submit import answers, transfer
from tests.marked import slow
from tests.unit.security.conftest import Command, unseen
from tests.unit.security.hostile_server import Say, Server, body, document, endless, serving

JOB: dict[str, Any] = {
    "type": "SUBMISSION", "submission_id": "mine", "status": "SUCCEEDED", "entrypoint": "sh", "message": "done",
    "metadata": {"regatta": "run", "job": "digits", "owner": "me"}, "driver_exit_code": 0,
    "start_time": 1, "end_time": 2,
}  # fmt: skip


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setattr(answers, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(answers, "MAX_BYTES", 4 << 20)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with serving() as served:
        served.says = {
            "/api/version": document({"version": "4", "ray_version": "2.60.0", "ray_commit": "x"}),
            "/stop": document({"stopped": True}),
            "/logs": document({"logs": "a line\n"}),
            "": document(JOB),
        }
        yield served


NONSENSE: dict[str, Say] = {
    "no JSON": body(b"<html>a proxy's login page</html>"),
    "not UTF-8": body(b"\xff\xfe\x00"),
    "another document": document([1, 2, 3]),
    "null": document(None),
    "deep": body(b"[" * 100_000),
    "wrong types": document(JOB | {"status": "\x1b[31mFINE", "metadata": [1]}),
    "about another": document(JOB | {"submission_id": "other"}),
    "no id": document(JOB | {"submission_id": None}),
    "a long number": body(b'{"type": ' + b"9" * 5000 + b"}"),
    "an error page": body(b"\x1b]0;owned\x07" + b"x" * 100_000, 500),
    "not found": body(b"status code 404", 404),
    "elsewhere": body(b"", 302, Location="http://127.0.0.1:9/api/jobs/mine"),
    "compressed": body(gzip.compress(b" " * 50_000_000, 1), Content_Encoding="gzip"),
    "huge": body(b" " * (5 << 20)),
    "endless": endless(0, b" " * 65536),
    "slow": endless(0.2, b" "),
    "cut off": body(b"{", Content_Length="100"),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_status_of_a_run(regatta: Command, cluster: Server, what: str) -> None:
    cluster.says[""] = NONSENSE[what]
    began = time.monotonic()
    said = regatta("status", "mine", "--address", cluster.address)
    assert said.code in (2, 4), said
    assert said.err.startswith("regatta: ")
    assert said.err.count("\n") == 1
    assert len(said.err) < 3000
    assert not unseen(said.out + said.err)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("what", ["no JSON", "null", "deep", "a long number", "an error page", "endless", "slow"])
def test_a_version_that_is_none(regatta: Command, cluster: Server, what: str) -> None:
    cluster.says["/api/version"] = NONSENSE[what]
    said = regatta("submissions", "--address", cluster.address)
    assert said.code in (2, 4), said
    assert said.err.startswith("regatta: ")
    assert said.err.count("\n") == 1


def test_a_list_of_runs(regatta: Command, cluster: Server) -> None:
    jobs = [
        JOB | {"metadata": JOB["metadata"] | {"owner": "\x1b[2J\u202eme", "label:a": "[link=x]b[/link]"}},
        JOB | {"submission_id": "../../etc"},
        JOB | {"submission_id": "$(reboot)"},
        JOB | {"start_time": 10**18, "end_time": -(10**18), "message": "x" * 1_000_000},
    ]
    cluster.says["/api/jobs/"] = document(jobs)
    said = regatta("submissions", "--address", cluster.address)
    assert said.code == 0, said
    assert not unseen(said.out)
    assert "etc" not in said.out
    assert "reboot" not in said.out
    assert "[link=x]" in said.out
    said = regatta("submissions", "--json", "--address", cluster.address)
    assert len(json.loads(said.out)) == 2


def test_logs_are_shown_without_what_a_terminal_obeys(regatta: Command, cluster: Server) -> None:
    cluster.says["/logs"] = document({"logs": "\x1b[31mred\x1b]8;;http://x\x07 \u202e\r\nnext\n"})
    for following in ((), ("--follow",)):
        said = regatta("logs", "mine", *following, "--address", cluster.address)
        assert said.code == 0, said
        assert "next" in said.out
        assert not unseen(said.out)


@pytest.mark.parametrize("what", ["no JSON", "null", "huge", "compressed", "an error page"])
def test_logs_that_are_none(regatta: Command, cluster: Server, what: str) -> None:
    cluster.says["/logs"] = NONSENSE[what]
    said = regatta("logs", "mine", "--address", cluster.address)
    assert said.code == 4, said
    assert said.err.count("\n") == 1


# Archives.


def archive(files: dict[str, bytes], *, sizes: dict[str, int] | None = None, packed: bytes | None = None) -> str:
    """What a transfer prints, with a manifest whose hash is right."""
    entries = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": (sizes or {}).get(name, len(data))}
        for name, data in files.items()
    }
    manifest = json.dumps({"files": entries})
    content = zlib.compress(b"".join(files.values())) if packed is None else packed
    lines = [
        transfer.BEGIN + manifest,
        transfer.LINE + b64encode(content).decode(),
        transfer.END + hashlib.sha256(manifest.encode()).hexdigest(),
    ]
    return "\n".join(lines) + "\n"


MEGABYTE = zlib.compressobj(wbits=-15)
BOMB = b"\x78\x9c" + (MEGABYTE.compress(bytes(1 << 20)) + MEGABYTE.flush(zlib.Z_FULL_FLUSH)) * 300
"""A stream of 300 MB whose blocks were packed once: packing all of it would cost every collection of tests 1.6 s."""

ARCHIVES: dict[str, str] = {
    "beside the folder": archive({"../evil": b"x"}),
    "absolute": archive({"/tmp/regatta-evil": b"x"}),
    "through a folder": archive({"logs/../../evil": b"x"}),
    "a file as a folder": archive({"a": b"x", "a/evil": b"x"}),
    "the same name twice": archive({"evil": b"x", "./evil": b"y"}),
    "no name": archive({"": b"x"}),
    "a name with a zero": archive({"evil\0.txt": b"x"}),
    "a long name": archive({"x" * 300: b"x"}),
    "deep folders": archive({"d/" * 600 + "evil": b"x"}),
    "the claim": archive({".claim": b"x"}),
    "larger than said": archive({"evil": b"x"}, packed=BOMB),
    "larger than allowed": archive({"evil": b"x"}, sizes={"evil": 1 << 40}, packed=BOMB),
    "less than nothing": archive({"evil": b"x"}, sizes={"evil": -1}),
    "another content": archive({"evil": b"x"}, packed=zlib.compress(b"y")),
    "not compressed": archive({"evil": b"x"}, packed=b"plain"),
    "no archive": "a line\n",
    "a list": f"{transfer.BEGIN}[]\n{transfer.END}{hashlib.sha256(b'[]').hexdigest()}\n",
}


IN_EVERY_SUITE = ("beside the folder", "larger than said", "the claim")


@pytest.mark.parametrize("what", [what if what in IN_EVERY_SUITE else slow(what) for what in ARCHIVES])
def test_fetching(regatta: Command, cluster: Server, tmp_path: Path, what: str) -> None:
    cluster.says["/logs"] = document({"logs": ARCHIVES[what]})
    cluster.says["/api/jobs/"] = document({"job_id": "1", "submission_id": "mine"})
    before = set(tmp_path.rglob("*"))
    said = regatta("fetch", "mine", "--out", "out", "--address", cluster.address)
    assert said.code in (2, 4), said
    assert said.err.startswith("regatta: ")
    assert "Jobs API" not in said.err
    assert said.err.count("\n") == 1
    new = {path.relative_to(tmp_path) for path in set(tmp_path.rglob("*")) - before}
    assert {path.parts[0] for path in new} <= {"out", "home"}
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
    assert not Path("/tmp/regatta-evil").exists()


def test_an_archive_that_is_right(regatta: Command, cluster: Server, tmp_path: Path) -> None:
    cluster.says["/logs"] = document({"logs": archive({"result.json": b"{}", "logs/worker-0.log": b"x"})})
    cluster.says["/api/jobs/"] = document({"job_id": "1", "submission_id": "mine"})
    said = regatta("fetch", "mine", "--out", "out", "--address", cluster.address)
    assert said.code == 0, said
    assert (tmp_path / "out" / "logs" / "worker-0.log").read_bytes() == b"x"


def test_a_submission_that_is_answered_with_another_name(regatta: Command, cluster: Server) -> None:
    cluster.says["/api/jobs/"] = document({"job_id": "1", "submission_id": "$(reboot)"})
    said = regatta("submit", "digits", "--address", cluster.address, "--json")
    assert said.code == 0, said
    assert "reboot" not in said.out + said.err
