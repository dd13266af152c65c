"""Command lines with hostile arguments, such as a user might paste from an untrusted source."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.loading import JobNotFound, load_job_class
from orchestrator.cli import on_head
from orchestrator.errors import ClusterError, RegattaError, UsageError
from orchestrator.submit import transfer
from orchestrator.submit.jobs_api import Submissions
from tests.unit.security.conftest import Command, assert_harmless, assert_refused

# Not marked `unit`: it takes seconds, and the marked set has thirty.

RUN_IDS = [
    "", ".", "..", "../up", "a/b", "/abs", "a/../b", "..\\up", "C:\\x", ".hidden", "-x", "--out", "a b", "a\tb", "a\nb",
    "a\rb", "a\x1b[2J", "a\x9b2J", "a\x7f", "a\u202eb", "a\u200b", "\udcff", "é", "~", "$HOME", "$(id)", "`id`",
    "a;id", "a|id", "a&id", "a>x", "a'b", 'a"b', "a*", "a?", "[a]", "{a}", "a%00b", "a%2e%2e", "a:b", "a@b", "x" * 101,
    "x" * 100_000, "<b>", "=1+1", "#", "!", "+", ",",
]  # fmt: skip
SETTINGS = [
    ("--set", "hidden"),
    ("--set", "=5"),
    ("--set", "\x1b[2J"),
    ("--worker-label", "a b=c"),
    ("--worker-label", "a=$(id)"),
    ("--worker-label", "a=in(x"),
    ("--worker-label", "a=" + "x" * 64),
    ("--worker-label", "a=b\n"),
    ("--worker-label", "\x1b=b"),
    ("--resources", "ps=2"),
    ("--resources", "ps.cpu=1e999"),
    ("--resources", "ps.cpu=nan"),
    ("--resources", "ps.cpu=\x1b[2J"),
    ("--resources", "ps.__class__=2"),
    ("--resources", "root.cpu=2"),
    ("--target", "val_accuracy"),
    ("--target", "val_accuracy>=1e999"),
    ("--target", "val_accuracy>=nan"),
    ("--target", "\x1b[2J>=1"),
    ("--target", "a>=1;DROP TABLE steps"),
    ("--target", "a" * 100_000 + ">=" + "1" * 100_000),
    ("--address", "http://evil"),
    ("--address", "ray://a b:1"),
    ("--address", "h:0\x1b[2J"),
    ("--address", "h:99999"),
    ("--address", "file:///etc/passwd"),
    ("--workers", "1e3"),
    ("--workers", "٣"),
    ("--workers", "9" * 5000),
    ("--workers", "\x1b[2J"),
    ("--epochs", "nan"),
    ("--epochs", "inf"),
    ("--epochs", "-1"),
    ("--samples", "9" * 400),
    ("--placement", "everywhere\x1b[2J"),
    ("--mode", "sync\x1b[2J"),
    ("--wor\x1b[2Jkers", "2"),
    ("--\u202eworkers", "2"),
]
COMPARED = [
    ("--seeds", "9" * 5000),
    ("--seeds", "1," * 50_000),
    ("--seeds", "\x1b[2J"),
    ("--seeds", "1;2"),
    ("--modes", "sync,\x1b[2J"),
    ("--modes", "," * 1000),
    ("--vary", "workers"),
    ("--vary", "workers=" + ",".join(map(str, range(1, 2000)))),
    ("--vary", "params.\x1b[2J=1,2"),
    ("--vary", "out=a,b"),
    ("--price", "gpu=-1"),
    ("--price", "gpu=nan"),
    ("--price", "\x1b[2J=1"),
    ("--price", "/etc/passwd.yaml"),
    ("--straggler", "trace:\x1b[2J=x"),
    ("--straggler", "persistent:factor=1e999"),
    ("--straggler", "\x1b[2J"),
    ("--straggler", ":" * 1000),
    ("--interface", "eth0;id"),
    ("--interface", "\x1b"),
    ("--on-instability", "explode\x1b"),
    ("--margin", "nan"),
    ("--batch-size", "1,\x1b"),
]
JOBS = [
    "", ".", "..", "os", "os:system", "os.path:join", "builtins:eval", "builtins:exec", "subprocess:Popen", "nt:system",
    "digits:Digits:x", ":", ":x", "x:", "x.py:", ".py:X", "../x.py:X", "/etc/passwd", "/etc/passwd:X", "/dev/zero:X",
    "a b:c", "a;b:c", "__main__:X", "sys:modules", "importlib:import_module", "jobs:catalog",
    "%s", "\u202e:x", "x" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("run_id", RUN_IDS, ids=lambda value: ascii(value)[:20])
def test_run_ids(regatta: Command, tmp_path: Path, run_id: str) -> None:
    assert_refused(regatta("run", "digits", f"--run-id={run_id}"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("flag", "value"), SETTINGS, ids=lambda value: ascii(value)[:20])
def test_settings_of_a_run(regatta: Command, tmp_path: Path, flag: str, value: str) -> None:
    assert_refused(regatta("plan", "digits", flag, value))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("flag", "value"), COMPARED, ids=lambda value: ascii(value)[:20])
def test_settings_of_a_comparison(regatta: Command, tmp_path: Path, flag: str, value: str) -> None:
    assert_refused(regatta("compare", "digits", "--quiet", flag, value))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["\x1b[2J", "run\x1b", "\u202enur", "--\x1b]0;x\x07"])
def test_commands_that_do_not_exist(regatta: Command, command: str) -> None:
    assert_refused(regatta(command))


@pytest.mark.parametrize("path", ["\x1b[2J", "a\nb", "a\x9b2Jb", "\u202ea", "\udcff", "x" * 5000, "a\0b"], ids=range(7))
@pytest.mark.parametrize("command", ["report", "watch", "export-metrics", "runs", "init"])
def test_paths_that_are_more_than_paths(regatta: Command, tmp_path: Path, command: str, path: str) -> None:
    assert_harmless(regatta(command, path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", JOBS, ids=lambda value: ascii(value)[:20])
def test_targets_that_are_no_job(tmp_path: Path, target: str) -> None:
    with pytest.raises(JobNotFound):
        load_job_class(target, str(tmp_path))


class Deaf:
    """Ray's client, which must not be called."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was called")


@pytest.mark.parametrize("run_id", RUN_IDS, ids=lambda value: ascii(value)[:20])
def test_names_of_submitted_runs_reach_neither_a_shell_nor_a_path(
    run_id: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cluster = Submissions.__new__(Submissions)
    cluster.address, cluster._client = "http://h:8265", Deaf()
    asks: list[Callable[[], object]] = [
        lambda: cluster.status(run_id),
        lambda: cluster.logs(run_id),
        lambda: cluster.stop(run_id),
        lambda: cluster.sent(run_id, "transfer", lambda look: look()),
    ]
    for ask in asks:
        with pytest.raises(UsageError, match="is not the name of a run"):
            ask()
    monkeypatch.setenv("HOME", str(tmp_path))
    for command in ("run", "transfer"):
        with pytest.raises(SystemExit, match="not the name of a run"):
            on_head.main(command, run_id)
    assert sys.argv[0] != "regatta"


MANIFESTS = [
    "", "null", "[]", "5", '"x"', "{}", '{"files": []}', '{"files": {"a": 1}}', '{"files": {"a": {}}}',
    '{"files": {"a": {"sha256": "x", "bytes": "many"}}}', '{"files": {"a": {"sha256": "x", "bytes": -1}}}',
    '{"files": {"a": {"sha256": "x", "bytes": 1e999}}}', '{"files": {"a": {"sha256": "x", "bytes": 1099511627776}}}',
    '{"files": {"../a": {"sha256": "x", "bytes": 1}}}', '{"files": {"/a": {"sha256": "x", "bytes": 1}}}',
    '{"files": {"a/../../b": {"sha256": "x", "bytes": 1}}}', '{"files": {"a\\u0000": {"sha256": "x", "bytes": 1}}}',
    '{"files": {"": {"sha256": "x", "bytes": 1}}}', '{"files": {".": {"sha256": "x", "bytes": 1}}}',
    '{"files": {"a": {"sha256": "x", "bytes": 1}, "a/b": {"sha256": "x", "bytes": 1}}}',
    json.dumps({"files": {"x" * 5000: {"sha256": "x", "bytes": 1}}}), "[" * 100_000,
    '{"files": {"\\u001b[2J": {"sha256": "x", "bytes": 1}}}',
]  # fmt: skip


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda value: value[:40])
def test_transfers_that_a_cluster_should_not_send(manifest: str) -> None:
    import hashlib

    seal = hashlib.sha256(manifest.encode()).hexdigest()
    with pytest.raises(ClusterError) as refused:
        transfer.unpack([transfer.BEGIN + manifest, transfer.LINE + "eJwDAAAAAAE=", transfer.END + seal])
    assert isinstance(refused.value, RegattaError)
    assert "\x1b" not in refused.value.message
    assert len(refused.value.message) < 300
