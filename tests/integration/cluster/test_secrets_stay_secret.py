"""A job prints its secret in every possible way, and no file of the run contains it."""

from __future__ import annotations

import base64
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.marked import slow

JOB = """
import base64, os, sys, time
from jobs.digits import Digits

SECRET = os.environ.get("CANARY", "")


class Chatty(Digits):
    def build_model(self):
        print("as it is:", SECRET, repr(SECRET), base64.b64encode(SECRET.encode()).decode(), flush=True)
        for letter in SECRET:
            sys.stderr.write(letter)
            sys.stderr.flush()
            time.sleep(0.05)
        print(" was said in pieces", flush=True)
        return super().build_model()

    def callbacks(self):
        import keras

        return [keras.callbacks.LambdaCallback(on_train_end=lambda logs: print("at the end", SECRET, flush=True))]


class Failing(Chatty):
    def build_model(self):
        raise RuntimeError(f"401 for https://user:{SECRET}@host")


if os.environ.get("BREAK"):
    raise ValueError("cannot log in with " + SECRET)
"""
CANARY = f"canary/{secrets.token_hex(8)}"


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """Where Ray keeps its logs; paths of its sockets must be short."""
    folder = tempfile.mkdtemp(prefix="rs-", dir="/tmp")
    yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


def traces(*folders: Path) -> list[str]:
    """Files that hold the canary, whole or as base64."""
    signs = (CANARY.encode(), base64.b64encode(CANARY.encode()).rstrip(b"="), CANARY.replace("/", "%2F").encode())
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert files
    return [str(path) for path in files if any(sign in path.read_bytes() for sign in signs)]


@pytest.mark.parametrize("mode", ["sync", slow("async")])
def test_nothing_that_is_left_of_a_run_holds_it(cli: Any, tmp_path: Path, ray_folder: Path, mode: str) -> None:
    (tmp_path / "mine.py").write_text(JOB)
    done = cli(
        "run", "mine.py:Chatty", "--mode", mode, "--env-secret", "CANARY", "--samples", "3200", "--out", "run", "-v",
        CANARY=CANARY, RAY_TMPDIR=str(ray_folder),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert CANARY not in done.stdout + done.stderr
    logs = "".join(path.read_text() for path in (tmp_path / "run" / "logs").iterdir())
    assert "as it is: [secret CANARY] '[secret CANARY]' [secret CANARY]" in logs
    assert "[secret CANARY] was said in pieces" in logs
    assert "at the end [secret CANARY]" in logs
    assert traces(tmp_path / "run", ray_folder) == []
    cli("report", "run", CANARY=CANARY)
    cli("export-metrics", "run", "--format", "csv", CANARY=CANARY)
    assert traces(tmp_path / "run") == []


@pytest.mark.slow
def test_a_failure_does_not_hold_it(cli: Any, tmp_path: Path, ray_folder: Path) -> None:
    (tmp_path / "mine.py").write_text(JOB)
    done = cli(
        "run", "mine.py:Failing", "--env-secret", "CANARY", "--out", "run", CANARY=CANARY, RAY_TMPDIR=str(ray_folder)
    )
    assert done.returncode == 3
    assert "401 for https://user:[secret CANARY]@host" in done.stderr
    assert CANARY not in done.stdout + done.stderr
    assert traces(tmp_path / "run", ray_folder) == []


def test_neither_does_one_before_anything_starts(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(JOB)
    broken = cli("run", "mine.py:Chatty", "--env-secret", "CANARY", "--out", "run", CANARY=CANARY, BREAK="1")
    assert broken.returncode == 3
    assert "cannot log in with [secret CANARY]" in broken.stderr
    assert CANARY not in broken.stderr
    missing = cli("run", "mine.py:Chatty", "--env-secret", "ELSEWHERE", "--out", "run")
    assert missing.returncode == 2
    assert "env_secrets: the environment variable ELSEWHERE is not set" in missing.stderr
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"mine.py"}


PARAMS = """
import os

from jobs.api import Job
from pydantic import BaseModel, field_validator

SECRET = os.environ["CANARY"]


class Leaky(Job):
    class Params(BaseModel):
        auth: str = "Bearer " + SECRET


class Checked(Job):
    class Params(BaseModel):
        auth: str = "none"

        @field_validator("auth")
        @classmethod
        def _is_ours(cls, value):
            raise ValueError(f"{value} is not {SECRET}")
"""


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ("Leaky", "params.auth: it contains a secret"),
        ("Checked", "params.auth: 'given' is not allowed: given is not [secret CANARY]"),
    ],
)
def test_neither_do_params_and_what_their_validators_say(cli: Any, tmp_path: Path, job: str, words: str) -> None:
    """A param is written to spec.yaml, to TensorBoard and to reports."""
    (tmp_path / "mine.py").write_text(PARAMS)
    given = ("--set", "auth=given") if job == "Checked" else ()
    done = cli("plan", f"mine.py:{job}", "--env-secret", "CANARY", *given, CANARY=CANARY)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert CANARY not in done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
