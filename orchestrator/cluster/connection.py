"""Attaches to a Ray cluster, or starts one on this host."""

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
from orchestrator.errors import ClusterError, RegattaError, UsageError
from orchestrator.plan.placement import Bundle
from orchestrator.plan.topology import TaskPlan
from orchestrator.spec.run import RunSpec
from workers.addresses import split
from workers.session import PACKAGES, SESSION_MARK, own_folder, session_directory
from workers.telemetry.descendants import descendants

_RANDOM_NAME = "/r12345678"
_LONGEST_FOLDER = 45
"""Ray appends 62 characters to make a socket's path, which may have 107."""
_HEAD_SECONDS = 3.0
_lost_heads: list[str] = []
"""Heads that stopped answering. `ray.shutdown` would wait for them, and then crash this process (Ray 2.60)."""


def leave(code: int) -> NoReturn:
    """Exit with `code`, without Ray's exit handlers if its head is lost."""
    if _lost_heads:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


class RayBackend:
    """Keeps a connection to Ray open for the duration of its `with` block."""

    def __init__(self, session: str, spec: RunSpec, plans: Sequence[TaskPlan], *, with_code: bool = True) -> None:
        """Prepare for the tasks of `plans`, which train the job of `spec`; `with_code` sends its code to the hosts."""
        self._session = session
        self._address = spec.address
        self._interface = spec.interface
        self._plans = plans
        self._job = (spec.job, spec.directory) if with_code else None
        self.local = self._address is None
        # Ray puts the driver's working directory first on its workers' import path, where a user's folder named
        # `workers` or `jobs` would shadow our packages. So Ray is started in an empty directory.
        self._empty = tempfile.TemporaryDirectory(prefix="regatta-empty-")
        self._private: str | None = None
        self._remote = self._address is not None and self._address.startswith("ray://")
        self.reservations = RayReservations(remote=self._remote)
        self._auth_mode = os.environ.get("RAY_AUTH_MODE")

    def __enter__(self) -> RayBackend:
        import ray

        # Ray logs at every start that token authentication is enabled.
        logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
        # Ray prints to stdout when one of its workers dies, but `--json` promises a single document there. Polls report
        # the death anyway.
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
        """An error message if Ray's head is gone, else None.

        Any further call to Ray would then wait a minute for the head, and end this process.
        """
        with contextlib.suppress(OSError, ValueError), socket.create_connection(split(self._head), _HEAD_SECONDS):
            return None
        return f"Ray's head ({self._head}) does not answer, so nothing can be launched."

    def __exit__(self, *_: object) -> None:
        import ray

        if self.lost() is None:
            ray.shutdown()
        else:
            _lost_heads.append(self._head)
            if self.local:  # Ray's agents would try to reach the head for minutes
                for pid in descendants(os.getpid()):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        os.environ.pop("RAY_AUTH_MODE", None)  # the next cluster may not be ours, and must not get our token
        if self._auth_mode is not None:
            os.environ["RAY_AUTH_MODE"] = self._auth_mode
        self._empty.cleanup()
        if self._private is not None and "RAY_TMPDIR" not in os.environ:  # if it is set, Ray's logs stay there
            shutil.rmtree(self._private, ignore_errors=True)

    def _start(self, ray: Any, common: dict[str, Any]) -> None:
        # Tasks on one machine share its cores, as under any process launcher, so Ray is told of as many CPUs as the
        # tasks request. On a cluster Ray's CPU counts are real and are respected.
        cpus = max(os.cpu_count() or 1, int(sum(plan.cpus for plan in self._plans)) + 1)
        token.require_token()
        _read_authentication(ray)
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
                # If a Ray job of the user's started us with a working directory, ours has to override it.
                os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"
                stage(Path(folder), *self._job)
                common = common | {"runtime_env": {"working_dir": folder}}
            with _working_in(self._empty.name), _own_signal_handlers():
                ray.init(address=self._address, **common)


def _is_staged_job() -> bool:
    """Whether this is a job from `regatta submit`, whose Ray workers inherit its code."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and Path.cwd() == PACKAGES


def _private_folder(session: str) -> str:
    """Create a folder for Ray's files: in `/tmp/ray` (mode 0777) other users could replace its sockets and code."""
    if (kept := os.environ.get("RAY_TMPDIR")) is not None:
        if len(kept) > _LONGEST_FOLDER - len(_RANDOM_NAME):
            raise UsageError(
                f"RAY_TMPDIR: {kept} is too long: Ray's sockets need a path of at most "
                f"{_LONGEST_FOLDER - len(_RANDOM_NAME)} characters. Choose another folder, or unset it."
            )
        Path(kept).mkdir(parents=True, exist_ok=True)
        return tempfile.mkdtemp(prefix="r", dir=kept)
    folder = session_directory(session) / "ray"
    if len(str(folder)) > _LONGEST_FOLDER:
        return tempfile.mkdtemp(prefix="r", dir=own_folder(_LONGEST_FOLDER - len(_RANDOM_NAME)))
    folder.mkdir(mode=0o700, exist_ok=True)
    return str(folder)


def _read_authentication(ray: Any) -> None:
    """Make Ray read RAY_AUTH_MODE and the token again; otherwise it keeps the values from when it was imported."""
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
    """Mark processes that are started inside with the session; see `workers.supervisor.zygote`."""
    os.environ[SESSION_MARK] = session
    try:
        yield
    finally:
        del os.environ[SESSION_MARK]


@contextlib.contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Keep the command's SIGTERM handler, which `ray.init` would replace by an exit with code 15.

    SIGHUP is blocked meanwhile, and Ray's processes inherit that: a terminal that is closed sends it to them as well,
    and they have to live until the last checkpoint is written.
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
    """Size of the object store, through which snapshots pass one at a time; Ray's default is 30 % of memory."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return int(max(200 << 20, min(4 << 30, 0.1 * pages * size)))
