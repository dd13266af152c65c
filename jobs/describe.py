"""`python -m jobs.describe`: describes jobs to the driver, from a process of its own.

The driver never imports a job's code. It runs this module, which loads the job, validates its params and writes one
JSON document to the file descriptor given as its argument (standard output belongs to the user's module, which may
print while it is imported). The request comes on standard input.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from jobs.api import Job
from jobs.catalog import CATALOG
from jobs.data.errors import DataFileError
from jobs.loading import JobNotFound, ParamsError, load_job_class, validate_params
from jobs.scripts.errors import ScriptError
from jobs.scripts.job import ScriptJob
from jobs.scripts.look import Look, look
from jobs.scripts.recognise import SCRIPT, recognise
from jobs.staged import as_written, home_of, job_file, on_this_host, users_folder


def describe(job: str, directory: str, params: dict[str, Any], *, check_data: bool = False) -> dict[str, Any]:
    """Describe a job: its name, defaults, validated params and their schema; or `error`, with a message.

    `job` is the job reference. With `check_data` the job also checks its data, for runs on this host.
    """
    try:
        job_class = load_job_class(job, directory)
        validated = validate_params(job_class, params)
        job_instance = job_class(validated) if check_data or issubclass(job_class, ScriptJob) else None
        if job_instance and check_data:
            job_instance.check_data()
        found = (
            look(job_instance, str(home_of(job, directory)))
            if isinstance(job_instance, ScriptJob)
            else Look(job_class.defaults)
        )
        return {
            "name": job if job in CATALOG else job_class.__name__,
            "summary": _summary(job, job_class),
            "defaults": dict(found.defaults),
            "params": validated.model_dump(mode="json") | dict(found.params),
            "schema": job_class.Params.model_json_schema(),
            "notes": [*found.notes, *_other_way(job, directory)],
        }
    except JobNotFound as error:
        return {"error": "job", "message": str(error)}
    except ParamsError as error:
        return {"error": "params", "field": error.field, "message": error.reason}
    except ScriptError as error:
        return {"error": "script", "message": str(error)}
    except DataFileError as error:
        return {"error": "data", "message": str(error)}
    except BaseException as error:  # noqa: BLE001 - whatever the user's module raises is shown to the user
        return {
            "error": "user",
            "message": f"{type(error).__name__}: {error}",
            "traceback": as_written(_traceback(error), job, directory),
        }


def _other_way(job: str, directory: str) -> list[str]:
    """How to run a file's script, if the file defines jobs and was not asked for either."""
    named = job_file(job)
    if not named or named[1]:
        return []
    found = recognise(on_this_host(users_folder(job, directory)) / Path(named[0]).name)
    if not (found.jobs and found.fits):
        return []
    return [
        f"{named[0]} defines the job {found.jobs[0]} and calls fit ({found.fits[0]}): the job is used. "
        f"{named[0]}:{SCRIPT} is the script"
    ]


def _summary(job: str, job_class: type[Job]) -> str:
    if job in CATALOG:
        return CATALOG[job].summary
    return (inspect.getdoc(job_class) or "").partition("\n")[0]


def _traceback(error: BaseException) -> str:
    """Format the traceback, starting at the first frame of the user's code."""
    frames = traceback.extract_tb(error.__traceback__)
    our_folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - frames hold plain strings
    user_frames = [f for f in frames if not f.filename.startswith((our_folder, "<frozen importlib"))]
    lines = traceback.format_list(user_frames or frames)
    return "".join(["Traceback (most recent call last):\n", *lines, *traceback.format_exception_only(error)])


def main() -> None:
    os.set_inheritable(int(sys.argv[1]), False)  # or a process started by the user's module would keep it open
    request = json.load(sys.stdin)
    requests = [request] if request else [{"job": name, "directory": ".", "params": {}} for name in CATALOG]
    answers = [describe(**request) for request in requests]
    text = json.dumps(answers, default=str)  # complete before anything is written
    with os.fdopen(int(sys.argv[1]), "w") as answer:
        answer.write(text)


if __name__ == "__main__":
    main()
