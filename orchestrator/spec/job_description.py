"""Describes jobs: name, defaults and params. A child process loads the job's code, so that the driver never does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import JobError, SpecError, UsageError
from workers.session import python_environment


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


def describe_job(job: str, directory: str, params: Mapping[str, Any], *, here: bool = False) -> JobDescription:
    """Load the job in a child process, and validate its params and, if it will run `here`, its data files.

    Raises:
        SpecError: there is no such job, or a param is invalid.
        UsageError: a data file is missing.
        JobError: the user's module raised while it was imported.
    """
    request = {"job": job, "directory": directory, "params": dict(params), "check_data": here}
    answers = _ask_child(request)
    return _description(job, answers[0])


def _ask_child(request: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Answers of `jobs.describe` about the requested job, or about all built-in jobs."""
    reader, writer = os.pipe()
    # Files instead of pipes: a module that prints a lot while it is imported would fill a pipe and block.
    with tempfile.TemporaryFile() as question, tempfile.TemporaryFile() as errors:
        question.write(json.dumps(request, default=str).encode())
        question.seek(0)
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "jobs.describe", str(writer)],
            pass_fds=[writer],
            stdin=question,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=python_environment() | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        ) as child:
            os.close(writer)
            try:
                with os.fdopen(reader) as answer:
                    text = answer.read()
            except KeyboardInterrupt:
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
