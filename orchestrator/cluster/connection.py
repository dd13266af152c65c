"""The Ray cluster: attach to one, or start one here."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from orchestrator.cluster import access, token
from orchestrator.cluster.ray_group import RayGroup
from orchestrator.cluster.reservations import RayReservations
from orchestrator.cluster.staging import stage
from orchestrator.cluster.worker_group import WorkerGroup
from orchestrator.errors import ClusterError, RegattaError
from orchestrator.plan.placement import Bundle
from orchestrator.plan.topology import TaskPlan
from orchestrator.spec.run import RunSpec
from workers.addresses import split
from workers.session import PACKAGES, SESSION_MARK, session_directory
from workers.telemetry.descendants import descendants

_LONGEST_FOLDER = 45
"""Ray adds 62 characters to a socket's path, which may have 107."""


_HEAD_SECONDS = 3.0


_headless: list[str] = []
"""Heads that were lost: Ray's farewell waits for them, and ends in a crash of this process (2.60)."""


def leave(code: int) -> NoReturn:
    """End this process with exit code `code`."""
    if _headless:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


class RayBackend:
    """A connection to Ray, for as long as the `with` block lasts."""

    def __init__(self, session: str, spec: RunSpec, plans: Sequence[TaskPlan], *, with_code: bool = True) -> None:
        """Tasks of `plans` will run there, training the job of `spec`; `with_code` sends its code to other hosts."""
        self._session = session
        self._address = spec.address
        self._interface = spec.interface
        self._plans = plans
        self._job = (spec.job, spec.directory) if with_code else None
        self.local = self._address is None
        # Ray puts the driver's working directory first on its workers' path, where a folder of the user's named
        # `workers` or `jobs` would hide ours. An empty one hides nothing.
        self._empty = tempfile.TemporaryDirectory(prefix="regatta-empty-")
        self._private: str | None = None
        self._remote = self._address is not None and self._address.startswith("ray://")
        self.reservations = RayReservations(remote=self._remote)
        self._auth_mode = os.environ.get("RAY_AUTH_MODE")

    def __enter__(self) -> RayBackend:
        import ray

        # It announces at every start that the token it asks for is on.
        logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
        # It prints on stdout when one of its workers dies, where `--json` promises one document; polls tell as much.
        ray._private.worker.print_to_stdstream = lambda *_, **__: None
        common = {
            "log_to_driver": False,
            "logging_level": logging.ERROR,
            "configure_logging": False,
            "namespace": f"regatta-{os.getpid()}",
        }
        try:
            if self._address is None:
                self._start(ray, common)
            else:
                self._address = access.check(self._address)
                _read_authentication(ray)
                self._attach(ray, common)
        except RegattaError:
            raise
        except Exception as error:
            where = "here" if self.local else f"at {self._address}"
            raise ClusterError(
                f"No Ray cluster {where}: {type(error).__name__}: {' '.join(str(error).split())} "
                "Check --address (HOST:6379 works from a machine of the cluster only, ray://HOST:10001 from any), that "
                "the cluster is up (`ray status`), and that Python and Ray are the same versions there. "
                "`regatta doctor` looks at this machine."
            ) from error
        here = ray.get_runtime_context
        self._head = str(self._address).removeprefix("ray://") if self._remote else here().gcs_address
        return self

    def group(self, plans: tuple[TaskPlan, ...], bundles: Sequence[Bundle], deadline: float) -> WorkerGroup:
        address = "127.0.0.1" if self.local else None
        return RayGroup(plans, self._session, bundles, address, self._interface, deadline)

    def lost(self) -> str | None:
        """Whether Ray's head is gone: any further question to Ray would wait for it, and end this process after a
        minute in vain."""
        with contextlib.suppress(OSError, ValueError), socket.create_connection(split(self._head), _HEAD_SECONDS):
            return None
        return f"Ray's head ({self._head}) does not answer, so nothing can be launched."

    def __exit__(self, *_: object) -> None:
        import ray

        if self.lost() is None:
            ray.shutdown()
        else:
            _headless.append(self._head)
            if self.local:  # Ray's agents would try to reach the head for minutes
                for pid in descendants(os.getpid()):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        os.environ.pop("RAY_AUTH_MODE", None)  # the next cluster may be another's, which our token is not for
        if self._auth_mode is not None:
            os.environ["RAY_AUTH_MODE"] = self._auth_mode
        self._empty.cleanup()
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)

    def _start(self, ray: Any, common: dict[str, Any]) -> None:
        # Tasks of one machine share its cores, as they would under any process launcher: Ray counts seats here,
        # and is given as many as the tasks need. On a cluster its counts are real and are kept.
        cpus = max(os.cpu_count() or 1, int(sum(plan.cpus for plan in self._plans)) + 1)
        token.require_token()
        _read_authentication(ray)
        if "RAY_TMPDIR" not in os.environ:  # there Ray's logs stay, for who wants to read them
            self._private = _private_folder(self._session)
        with _working_in(self._empty.name), _own_signal_handlers(), _marked(self._session):
            ray.init(
                address="local",
                _temp_dir=self._private,
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=_object_store_bytes(),
                **common,
            )

    def _attach(self, ray: Any, common: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory(prefix="regatta-stage-") as folder:
            if self._job is not None and not _is_staged_job():
                # A job of the user's own may have a working directory, and ours is to win.
                os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"
                stage(Path(folder), *self._job)
                common = common | {"runtime_env": {"working_dir": folder}}
            with _working_in(self._empty.name), _own_signal_handlers():
                ray.init(address=self._address, **common)


def _is_staged_job() -> bool:
    """Whether this is a job from `regatta submit`: all it starts gets the code that it has itself."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and Path.cwd() == PACKAGES


def _private_folder(session: str) -> str:
    """For the files of a Ray of ours: in `/tmp/ray` others could replace its sockets and its code (mode 0777)."""
    folder = session_directory(session) / "ray"
    if len(str(folder)) > _LONGEST_FOLDER:
        return tempfile.mkdtemp(prefix="r", dir=folder.parent.parent)
    folder.mkdir(exist_ok=True)
    return str(folder)


def _read_authentication(ray: Any) -> None:
    """Have Ray look at RAY_AUTH_MODE and the token again: it goes on with what it was imported with."""
    ray._raylet.Config.initialize("")
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _working_in(folder: str) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _marked(session: str) -> Iterator[None]:
    """Processes started inside bear the session's mark; see `workers.supervisor.zygote`."""
    os.environ[SESSION_MARK] = session
    try:
        yield
    finally:
        del os.environ[SESSION_MARK]


@contextlib.contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Keep what the command does on SIGTERM: `ray.init` would replace it by an exit with code 15.

    Ray's processes inherit that SIGHUP is blocked: a terminal that is closed sends it to them too, and they have to
    live until the last checkpoint is written.
    """
    before = signal.getsignal(signal.SIGTERM)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _object_store_bytes() -> int:
    """Snapshots pass through it one at a time; Ray's default of 30 % of memory is for data sets."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return int(max(200 << 20, min(4 << 30, 0.1 * pages * size)))
