"""What a job says about itself: its name, defaults and params, told by a child process that loads its code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import JobError, SpecError, UsageError
from workers.session import python_environment


@dataclass(frozen=True)
class JobDescription:
    """What a child process found out about a job."""

    name: str
    summary: str
    defaults: Mapping[str, Any]
    params: Mapping[str, Any]
    """Validated, with defaults filled in."""
    schema: Mapping[str, Any]


def describe_job(job: str, directory: str, params: Mapping[str, Any], *, here: bool = False) -> JobDescription:
    """Load the job in a child process and validate its params there; and its data, if it is to run `here`.

    Raises:
        SpecError: there is no such job, or a param is wrong.
        UsageError: a data file is missing.
        JobError: the user's module raised while it was imported.
    """
    request = {"job": job, "directory": directory, "params": dict(params), "check_data": here}
    answers = _ask_child(request)
    return _description(job, answers[0])


def _ask_child(request: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The answers of `jobs.describe`: on one job, or on all built-in ones."""
    reader, writer = os.pipe()
    # Files, not pipes: whatever a user's module prints while it is imported, nobody waits for anybody.
    with tempfile.TemporaryFile() as question, tempfile.TemporaryFile() as errors:
        question.write(json.dumps(request, default=str).encode())
        question.seek(0)
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "jobs.describe", str(writer)],
            pass_fds=[writer],
            stdin=question,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=python_environment() | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
        ) as child:
            os.close(writer)
            try:
                with os.fdopen(reader) as answer:
                    text = answer.read()
            except KeyboardInterrupt:
                child.kill()
                raise
            if text:
                child.kill()  # a thread that the user's module started would keep it
        if text:
            answers: list[dict[str, Any]] = json.loads(text)
            return answers
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    raise JobError(f"The process that loads jobs ended with code {child.returncode}.", said)


def list_jobs() -> list[dict[str, Any]]:
    """Name, summary, defaults and params schema of every built-in job, told by a child process."""
    return [answer for answer in _ask_child(None) if "error" not in answer]


def _description(job: str, answer: dict[str, Any]) -> JobDescription:
    match answer.get("error"):
        case "job":
            raise SpecError("job", answer["message"].removeprefix("job "))
        case "params":
            raise SpecError(f"params.{answer['field']}", answer["message"])
        case "data":
            raise UsageError(f"data: {answer['message']}")
        case "user":
            raise JobError(f"Loading job {job!r} failed: {answer['message']}", answer["traceback"])
    return JobDescription(**answer)
