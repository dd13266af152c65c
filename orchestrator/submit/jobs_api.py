"""Submits runs to a cluster through Ray's Jobs API, and queries them from the submitting machine.

Each run or comparison is one job, named by its run id, which Ray keeps unique. Owner and labels are the job's metadata.
https://docs.ray.io/en/latest/cluster/running-applications/job-submission/
"""

from __future__ import annotations

import contextlib
import logging
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.cluster import access
from orchestrator.cluster.staging import stage
from orchestrator.errors import ClusterError, UsageError
from orchestrator.spec.files import base_of, spec_file
from orchestrator.spec.job_description import tell
from orchestrator.spec.run_id import RUN_ID_WORDS, is_run_id
from orchestrator.spec.validation import shown
from orchestrator.submit.answers import request
from orchestrator.submit.room import refuse_what_never_fits

if TYPE_CHECKING:
    from orchestrator.spec.files import Spec

_T = TypeVar("_T")
_STOP_SECONDS = "45"
"""Time for a stopped driver to write its results and end its tasks; Ray's default is 3."""
_KIND, _OWNER, _JOB, _LABEL = "regatta", "owner", "job", "label:"
_LONGEST_MESSAGE = 2000
_LATEST = 32_503_680_000_000
"""The year 3000, in milliseconds."""
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
COMMANDS = ("run", "compare", "sweep")
LAUNCHER = "regatta.sh"
SPEC = "spec.yaml"
# `python` in a job's shell need not be the interpreter that Ray uses; the raylet's command line names that one.
_LAUNCHER_TEXT = r"""raylet=$(sed 's/.*) //' "/proc/$PPID/stat" | cut -d' ' -f2)
python=$(tr '\0 ' '\n\n' <"/proc/$raylet/cmdline" | sed -n 's/^--python_worker_command=//p')
exec "${python:-python3}" -m orchestrator.cli.on_head "$@"
"""


@dataclass(frozen=True)
class Submission:
    """A submitted run, as reported by the cluster."""

    run: str
    status: str
    """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""
    command: str
    """One of `COMMANDS`."""
    job: str
    owner: str
    labels: Mapping[str, str]
    message: str
    exit_code: int | None
    started: float | None
    """Seconds since the epoch."""
    ended: float | None

    @property
    def over(self) -> bool:
        return self.status in ENDED

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class LostConnection(ClusterError):  # noqa: N818 - says what happened
    """The cluster does not answer at the moment; its runs continue."""


class Submissions:
    """The jobs of one cluster."""

    def __init__(self, address: str) -> None:
        """Connect to the dashboard at `address` (`http://head:8265`).

        Raises:
            UsageError: the address is invalid, or the client's dependencies are not installed.
            ClusterError: the cluster does not answer, or the token is missing or wrong.
        """
        self.address = access.check_dashboard(address)
        from ray.job_submission import JobSubmissionClient

        for name in ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging"):
            logging.getLogger(name).setLevel(logging.ERROR)  # they log every upload

        class Client(JobSubmissionClient):  # type: ignore[misc]  # Ray has no types
            def _do_request(self, method: str, endpoint: str, *, data: Any = None, json_data: Any = None) -> Any:
                return request(method, self._address + endpoint, headers=self._headers, data=data, json=json_data)

        try:
            self._client = self._ask(lambda: Client(self.address))
        except ClusterError as error:
            if "ray[default]" in str(error):
                raise UsageError(
                    "Submitting needs Ray's job client, which training does not: install the extra `cluster` "
                    "(pip install 'regatta[cluster]')."
                ) from None
            raise

    def submit(
        self, command: str, spec: Spec, run_id: str, flags: Sequence[str] = (), *, owner: str, labels: Mapping[str, str]
    ) -> None:
        """Submit `spec` as `run_id`, together with the job's code and what belongs to it; `flags` are the command's.

        Raises:
            UsageError: a run of that name exists already.
            ResourcesError: the cluster can never hold it.
        """
        run = base_of(spec)
        refuse_what_never_fits(spec, lambda path: self._client._do_request("GET", path))
        with tempfile.TemporaryDirectory(prefix="regatta-submit-") as folder:
            if (note := stage(Path(folder), run.job, run.directory, run.include, for_driver=True)) is not None:
                tell.get()(note)
            (Path(folder) / SPEC).write_text(spec_file(spec, str(Path(run.directory).absolute())), encoding="utf-8")
            metadata = {_KIND: command, _OWNER: owner, _JOB: run.job}
            metadata |= {_LABEL + key: value for key, value in labels.items()}
            self._start(Path(folder), shlex.join([command, run_id, *flags]), run_id, metadata)

    def sent(self, run_id: str, what: str, wait: Callable[[Callable[[], Submission]], Submission]) -> str:
        """Files of the run in the format of `orchestrator.submit.transfer`, printed by a job that is then removed.

        `what` is "page", "transfer" for the run's directory, or "transfer FILE" for one file of it.

        Raises:
            UsageError: the job failed, for example because the run has no such file.
        """
        _check(run_id)  # it becomes part of a shell command
        with tempfile.TemporaryDirectory(prefix="regatta-fetch-") as folder:
            stage(Path(folder), "", "", for_driver=what == "page")
            verb, _, only = what.partition(" ")
            name = self._start(Path(folder), f"{verb} {run_id} {only}".rstrip(), None, {_KIND: "transfer"})
        try:
            done = wait(lambda: self.status(name))
            output = self.logs(name)
        finally:
            with contextlib.suppress(ClusterError, UsageError):
                self.stop(name)
                self._ask(lambda: self._client.delete_job(name))
        if done.status != "SUCCEEDED":
            reason = next((line for line in reversed(output.splitlines()) if line.startswith("regatta: ")), "")
            raise UsageError(reason.removeprefix("regatta: ") or f"Fetching {run_id} failed: {done.message}")
        return output

    def runs(self) -> list[Submission]:
        """All submitted runs, the latest first."""
        jobs = [job for job in self._ask(self._client.list_jobs) if is_run_id(job.submission_id or "")]
        runs = [_submission(job) for job in jobs if (job.metadata or {}).get(_KIND) in COMMANDS]
        return sorted(runs, key=lambda run: -(run.started or 0))

    def status(self, run_id: str) -> Submission:
        job = self._ask(lambda: self._client.get_job_info(run_id), run_id)
        if job.submission_id != run_id:
            raise ClusterError(f"{self.address} was asked about {run_id!r}, and answered about something else.")
        return _submission(job)

    def logs(self, run_id: str) -> str:
        """Output of the run so far."""
        return str(self._ask(lambda: self._client.get_job_logs(run_id), run_id) or "")

    def stop(self, run_id: str) -> bool:
        """Ask the run to end; False if it had ended already."""
        return bool(self._ask(lambda: self._client.stop_job(run_id), run_id))

    def _start(self, folder: Path, arguments: str, run_id: str | None, metadata: dict[str, str]) -> str:
        (folder / LAUNCHER).write_text(_LAUNCHER_TEXT)
        return str(
            self._ask(
                lambda: self._client.submit_job(
                    entrypoint=f"exec sh {LAUNCHER} {arguments}",
                    submission_id=run_id,
                    runtime_env={
                        "working_dir": str(folder),
                        "env_vars": {
                            "RAY_JOB_STOP_SIGNAL": "SIGINT",  # as Ctrl-C: SIGTERM is for a machine that is taken away
                            "RAY_JOB_STOP_WAIT_TIME_S": _STOP_SECONDS,
                            "COLUMNS": "100",
                        },
                    },
                    metadata=metadata,
                ),
                run_id,
            )
        )

    def _ask(self, call: Callable[[], _T], run_id: str | None = None) -> _T:
        """Call Ray's client, and turn its errors into ours."""
        if run_id is not None:
            _check(run_id)
        try:
            return call()
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise ClusterError(
                f"What answers at {self.address} is not Ray's Jobs API, or another version of it "
                f"({type(error).__name__}: {shown(_last_line(str(error)))})."
            ) from error
        except OSError as error:  # base class of all errors of `requests`, timeouts included
            raise LostConnection(f"The connection to {self.address} was lost ({type(error).__name__}).") from error
        except RuntimeError as error:
            text = str(error)
            if "already exists" in text:
                raise UsageError(
                    f"run_id: {run_id!r} was submitted to {self.address} before: give the run another name."
                ) from error
            if "status code 404" in text:
                raise UsageError(
                    f"There is no run {run_id!r} at {self.address}; `regatta submissions` lists them."
                ) from error
            raise ClusterError(f"Ray at {self.address} refused the request: {_last_line(text)}") from error


def _check(run_id: str) -> None:
    if not is_run_id(run_id):
        raise UsageError(f"run: {shown(run_id)} is not the name of a run: {RUN_ID_WORDS}.")


def _submission(job: Any) -> Submission:
    metadata = job.metadata or {}
    return Submission(
        run=job.submission_id,
        status=str(getattr(job.status, "value", job.status)),
        command=metadata.get(_KIND, ""),
        job=metadata.get(_JOB, ""),
        owner=metadata.get(_OWNER, ""),
        labels={k.removeprefix(_LABEL): v for k, v in metadata.items() if k.startswith(_LABEL)},
        message=(job.message or "").partition(", last available logs")[0].partition("\n")[0][:_LONGEST_MESSAGE],
        exit_code=job.driver_exit_code,
        started=_time(job.start_time),
        ended=_time(job.end_time),
    )


def _time(milliseconds: int | None) -> float | None:
    """Seconds since the epoch; None if it is not known, or is no time of this millennium."""
    return milliseconds / 1000 if milliseconds and 0 < milliseconds < _LATEST else None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text[-_LONGEST_MESSAGE:].splitlines() if line.strip(" .")]
    return lines[-1] if lines else "no reason given"
