"""Describes jobs: name, defaults and params. A child process loads the job's code, so that the driver never does."""

from __future__ import annotations

import json
import math
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import JobError, SpecError, UsageError
from workers.session import python_environment

_SAY_SECONDS = 20.0
_STDERR = 2
tell: ContextVar[Callable[[str], None]] = ContextVar("tell", default=lambda _: None)
"""Tells the user a line while a job is loaded; the command line sets it."""
shows_output: ContextVar[bool] = ContextVar("shows_output", default=False)
"""Whether what the job prints meanwhile goes to standard error, instead of nowhere; the command line sets it."""


@dataclass(frozen=True)
class JobDescription:
    """What a child process reported about a job."""

    name: str
    summary: str
    defaults: Mapping[str, Any]
    params: Mapping[str, Any]
    """Validated, with defaults filled in."""
    schema: Mapping[str, Any]
    notes: Sequence[str] = ()
    """What the user should know, such as which of two ways was chosen."""


def describe_job(
    job: str, directory: str, params: Mapping[str, Any], *, here: bool = False, within: float | None = None
) -> JobDescription:
    """Load the job in a child process, and validate its params and, if it will run `here`, its data files.

    A script is run up to its `fit`, for at most `within` seconds.

    Raises:
        SpecError: there is no such job, or a param is invalid.
        UsageError: a data file is missing.
        JobError: the user's module raised while it was imported.
    """
    request = {"job": job, "directory": directory, "params": dict(params), "check_data": here}
    description = _description(job, _ask_child(request, within)[0])
    for note in description.notes:
        tell.get()(note)
    return description


def _ask_child(request: Mapping[str, Any] | None, within: float | None = None) -> list[dict[str, Any]]:
    """Answers of `jobs.describe` about the requested job, or about all built-in jobs."""
    reader, writer = os.pipe()
    shown = shows_output.get()
    # Files instead of pipes: a module that prints a lot while it is imported would fill a pipe and block.
    with tempfile.TemporaryFile() as question, tempfile.TemporaryFile() as errors:
        question.write(json.dumps(request, default=str).encode())
        question.seek(0)
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "jobs.describe", str(writer)],
            pass_fds=[writer],
            stdin=question,
            stdout=_STDERR if shown else subprocess.DEVNULL,
            stderr=_STDERR if shown else errors,
            env=python_environment() | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        ) as child:
            os.close(writer)
            try:
                text = _answer(reader, (request or {}).get("job", "the list of jobs"), within)
            except (KeyboardInterrupt, UsageError):
                child.kill()
                raise
            if text:
                child.kill()  # a thread started by the user's module would keep the process alive
        if text:
            answers: list[dict[str, Any]] = json.loads(text)
            return answers
        errors.seek(0)
        stderr = errors.read().decode(errors="replace")
    raise JobError(f"The process that loads jobs ended with code {child.returncode}.", stderr)


def _answer(reader: int, job: str, within: float | None) -> str:
    """What the child writes until it closes its end; says every `_SAY_SECONDS` that it is waited for.

    Raises:
        UsageError: it took longer than `within` seconds.
    """
    started, parts = time.monotonic(), bytearray()
    with os.fdopen(reader, "rb", buffering=0) as answer:
        while True:
            left = math.inf if within is None else started + within - time.monotonic()
            if left <= 0:
                raise UsageError(f"{job} did not come to its fit, or was not loaded, in the {within:g} s of --timeout.")
            if select.select([answer], [], [], min(left, _SAY_SECONDS))[0]:
                if not (part := answer.read(1 << 16)):
                    return parts.decode()
                parts += part
            elif time.monotonic() - started >= _SAY_SECONDS:
                tell.get()(
                    f"{job} is still being loaded, or on its way to fit, after {time.monotonic() - started:.0f} s"
                )


def list_jobs() -> list[dict[str, Any]]:
    """Name, summary, defaults and params schema of every built-in job."""
    return [answer for answer in _ask_child(None) if "error" not in answer]


def _description(job: str, answer: dict[str, Any]) -> JobDescription:
    match answer.get("error"):
        case "job":
            raise SpecError("job", answer["message"].removeprefix("job "))
        case "params":
            raise SpecError(f"params.{answer['field']}", answer["message"])
        case "script":
            raise UsageError(answer["message"])
        case "data":
            raise UsageError(f"data: {answer['message']}")
        case "user":
            raise JobError(f"Loading job {job!r} failed: {answer['message']}", answer["traceback"])
    return JobDescription(**answer)
