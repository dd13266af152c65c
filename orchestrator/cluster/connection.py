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
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from orchestrator.cluster import access, own_ray, token
from orchestrator.cluster.ray_group import RayGroup
from orchestrator.cluster.reservations import RayReservations
from orchestrator.cluster.staging import stage
from orchestrator.cluster.warm.found import Lease
from orchestrator.cluster.worker_group import WorkerGroup
from orchestrator.errors import ClusterError, RegattaError
from orchestrator.plan.placement import Bundle
from orchestrator.plan.topology import TaskPlan
from orchestrator.spec.job_description import tell
from orchestrator.spec.run import RunSpec
from workers.addresses import split
from workers.session import PACKAGES, session_directory
from workers.telemetry.descendants import descendants

_HEAD_SECONDS = 3.0
_CLIENT_SERVER_FAILED = "Starting Ray client server failed"
"""Ray's message where the process that the head starts for each ray:// client died: two heads of one host may choose
the same port for theirs."""
_CLIENT_SERVER_STARTS = 3
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

    def __init__(
        self,
        session: str,
        spec: RunSpec,
        plans: Sequence[TaskPlan],
        *,
        with_code: bool = True,
        cpus: int | None = None,
        warm: Lease | None = None,
    ) -> None:
        """Prepare for the tasks of `plans`, which train the job of `spec`; `with_code` sends its code to the hosts.

        `cpus` is how many a Ray that is started here offers, instead of as many as `plans` need. `warm`: use that one.
        """
        self.session = warm.state.session if warm else session
        self._warm = warm
        self._cpus = cpus
        self._address = spec.address
        self._interface = spec.interface
        self._plans = plans
        self._job = (spec.job, spec.directory, spec.include) if with_code else None
        self.local = self._address is None
        # Ray puts the driver's working directory first on its workers' import path, where a user's folder named
        # `workers` or `jobs` would shadow our packages. So Ray is started in an empty directory.
        within = session_directory(self.session) if self.local else None  # which is removed also after `kill -9`
        self._empty = tempfile.TemporaryDirectory(prefix="regatta-empty-", dir=within)
        self._private: str | None = None
        self._open = contextlib.ExitStack()
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
            if self._warm is not None:
                self._join(ray, common, self._warm)
            elif self._address is None:
                self._start(ray, common)
            else:
                self._address = access.check(self._address)
                _read_authentication(ray)
                self._attach(ray, common)
        except RegattaError:
            raise
        except Exception as error:
            raise ClusterError(
                self._not_connected(f"{type(error).__name__}: {' '.join(str(error).split())}")
            ) from error
        here = ray.get_runtime_context
        self.address = str(self._address).removeprefix("ray://") if self._remote else here().gcs_address
        return self

    def group(self, plans: tuple[TaskPlan, ...], bundles: Sequence[Bundle], deadline: float) -> WorkerGroup:
        address = "127.0.0.1" if self.local else None
        given = dict(os.environ) if self._warm else None
        return RayGroup(plans, self.session, bundles, address, self._interface, deadline, given)

    def lost(self) -> str | None:
        """An error message if Ray's head is gone, else None.

        Any further call to Ray would then wait a minute for the head, and end this process.
        """
        with contextlib.suppress(OSError, ValueError), socket.create_connection(split(self.address), _HEAD_SECONDS):
            return None
        return f"Ray's head ({self.address}) does not answer, so nothing can be launched."

    def __exit__(self, *_: object) -> None:
        import ray

        if self.lost() is None:
            with own_ray.ended_at_once(ray) if self.local and not self._warm else contextlib.nullcontext():
                ray.shutdown()
        else:
            _lost_heads.append(self.address)
            if self.local:  # Ray's agents would try to reach the head for minutes
                for pid in descendants(os.getpid()):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        os.environ.pop("RAY_AUTH_MODE", None)  # the next cluster may not be ours, and must not get our token
        if self._auth_mode is not None:
            os.environ["RAY_AUTH_MODE"] = self._auth_mode
        self._empty.cleanup()
        self._open.close()
        if self._private is not None and "RAY_TMPDIR" not in os.environ:  # if it is set, Ray's logs stay there
            shutil.rmtree(self._private, ignore_errors=True)

    def _not_connected(self, error: str) -> str:
        if self._warm:
            return (
                f"The Ray that `regatta up` keeps warm cannot be joined: {error} `regatta down` ends it; without it, "
                "commands start their own."
            )
        if self.local:
            return (
                f"Ray did not start on this host: {error} `regatta doctor` looks at this machine, and `--backend "
                "local` trains without Ray."
            )
        return (
            f"No Ray cluster at {self._address}: {error} Check --address (HOST:6379 works from a machine of the "
            "cluster only, ray://HOST:10001 from any), that the cluster is up (`ray status`), and that Python and Ray "
            "are the same versions there. `regatta doctor` looks at this machine."
        )

    def _start(self, ray: Any, common: dict[str, Any]) -> None:
        # Tasks on one machine share its cores, as under any process launcher, so Ray is told of as many CPUs as the
        # tasks request. On a cluster Ray's CPU counts are real and are respected.
        cpus = max(os.cpu_count() or 1, int(sum(plan.cpus for plan in self._plans)) + 1)
        token.require_token()
        _read_authentication(ray)
        self._private = own_ray.private_folder(self.session)
        own_ray.start(ray, self.session, self._private, self._empty.name, self._cpus or cpus, common)

    def _join(self, ray: Any, common: dict[str, Any], warm: Lease) -> None:
        with contextlib.ExitStack() as opened:
            opened.enter_context(warm.marking())
            token.require_token()
            _read_authentication(ray)
            with contextlib.chdir(self._empty.name), own_ray.own_signal_handlers():
                ray.init(address=warm.state.address, **common)
            self._open = opened.pop_all()

    def _attach(self, ray: Any, common: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory(prefix="regatta-stage-") as folder:
            if self._job is not None and not _is_staged_job():
                # If a Ray job of the user's started us with a working directory, ours has to override it.
                os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"
                if (note := stage(Path(folder), *self._job)) is not None:
                    tell.get()(note)
                common = common | {"runtime_env": {"working_dir": folder}}
            with contextlib.chdir(self._empty.name), own_ray.own_signal_handlers():
                for attempt in range(1, _CLIENT_SERVER_STARTS + 1):
                    try:
                        ray.init(address=self._address, **common)
                        break
                    except ConnectionAbortedError as error:
                        if attempt == _CLIENT_SERVER_STARTS or _CLIENT_SERVER_FAILED not in str(error):
                            raise


def _is_staged_job() -> bool:
    """Whether this is a job from `regatta submit`, whose Ray workers inherit its code."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and Path.cwd() == PACKAGES


def _read_authentication(ray: Any) -> None:
    """Make Ray read RAY_AUTH_MODE and the token again; otherwise it keeps the values from when it was imported."""
    ray._raylet.Config.initialize("")
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()
