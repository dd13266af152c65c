"""The Ray cluster: attach to one or start one here, stage our code on it, and reserve places for tasks."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import ClusterError, ResourcesError
from orchestrator.topology import TaskPlan, count_by_type
from workers.process import PACKAGES
from workers.zygote import SESSION_MARK

OUR_PACKAGES = ("orchestrator", "workers", "jobs")
_SMALL = 1e-9


@dataclass(frozen=True)
class Placement:
    """Places for a set of tasks, held together: all of them or none. Bundle i is for the i-th task."""

    group: Any

    def release(self) -> None:
        from ray.util import remove_placement_group

        with contextlib.suppress(Exception):
            remove_placement_group(self.group)


class Cluster:
    """A connection to Ray, for as long as the `with` block lasts."""

    def __init__(
        self, session: str, address: str | None, plans: Sequence[TaskPlan], job_file: Path | None = None
    ) -> None:
        self._session = session
        self._address = address
        self._plans = plans
        self._job_file = job_file
        self.local = address is None
        # Ray puts the driver's working directory first on its workers' path, where a folder of the user's named
        # `workers` or `jobs` would hide ours (FACTS.md). An empty one hides nothing.
        self._empty = tempfile.TemporaryDirectory(prefix="regatta-empty-")

    def __enter__(self) -> Cluster:
        import ray

        # It announces at every start that the token it asks for is on.
        logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
        common = {
            "log_to_driver": False,
            "logging_level": logging.ERROR,
            "configure_logging": False,
            "namespace": f"regatta-{os.getpid()}",
        }
        try:
            if self.local:
                self._start(ray, common)
            else:
                self._attach(ray, common)
        except ClusterError:
            raise
        except Exception as error:
            where = "here" if self.local else f"at {self._address}"
            raise ClusterError(
                f"No Ray cluster {where}: {type(error).__name__}: {error}. "
                "Check --address, that the cluster is up (`ray status`), and that a token is given if it asks for "
                "one (RAY_AUTH_TOKEN). `regatta doctor` looks at this machine."
            ) from error
        self._refuse_impossible(self._plans)
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        ray.shutdown()
        self._empty.cleanup()

    def capacity(self) -> dict[str, float]:
        """What the whole cluster has, taken or not."""
        import ray

        total = ray.cluster_resources()
        return {"cpu": float(total.get("CPU", 0)), "gpu": float(total.get("GPU", 0))}

    def reserve(self, plans: Sequence[TaskPlan], deadline: float) -> Placement:
        """Places for all of `plans` at once.

        Raises:
            ResourcesError: the cluster is too small.
            ClusterError: it is large enough, but not free before `deadline` (monotonic seconds).
        """
        import ray
        from ray.util import placement_group

        self._refuse_impossible(plans)
        group = placement_group([_bundle(plan) for plan in plans], strategy="PACK")
        seconds = max(0.0, deadline - time.monotonic())
        ready, _ = ray.wait([group.ready()], timeout=seconds)
        placement = Placement(group)
        if not ready:
            placement.release()
            free = ray.available_resources()
            raise ClusterError(
                f"The cluster did not offer {_total(plans)} for {_tasks(plans)} within {seconds:.0f} s; free at the "
                f"moment are {free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs, in all nodes together. "
                "Wait for other jobs to end, ask for less, or raise launch_timeout."
            )
        return placement

    def _start(self, ray: Any, common: dict[str, Any]) -> None:
        # Tasks of one machine share its cores, as they would under any process launcher: Ray counts seats here,
        # and is given as many as the tasks need. On a cluster its counts are real and are kept.
        cpus = max(os.cpu_count() or 1, int(sum(plan.cpus for plan in self._plans)) + 1)
        with _working_in(self._empty.name), _own_signal_handlers(), _marked(self._session):
            ray.init(
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=_object_store_bytes(),
                **common,
            )

    def _attach(self, ray: Any, common: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory(prefix="regatta-stage-") as folder:
            stage(Path(folder), self._job_file)
            with _working_in(self._empty.name), _own_signal_handlers():
                ray.init(address=self._address, runtime_env={"working_dir": folder}, **common)

    def _refuse_impossible(self, plans: Sequence[TaskPlan]) -> None:
        has = self.capacity()
        for name, word in (("gpu", "GPUs"), ("cpu", "CPUs")):
            asked = sum(getattr(plan, f"{name}s") for plan in plans)
            if asked > has[name] + _SMALL:
                flag = "--gpus-per-worker" if name == "gpu" else "--cpus-per-task"
                raise ResourcesError(
                    f"{_tasks(plans)} need {asked:g} {word} and the cluster has {has[name]:g}. "
                    f"Lower --workers or {flag}, or use a larger cluster (--address)."
                )


def stage(folder: Path, job_file: Path | None) -> None:
    """Put our packages and the user's job file, with the modules beside it, into `folder` for other hosts."""
    for package in OUR_PACKAGES:
        shutil.copytree(PACKAGES / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    if job_file is not None:
        user_code = folder / "user_code"
        user_code.mkdir()
        for module in job_file.parent.glob("*.py"):
            shutil.copy(module, user_code / module.name)


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
    """Processes started inside bear the session's mark; see `workers.zygote`."""
    os.environ[SESSION_MARK] = session
    try:
        yield
    finally:
        del os.environ[SESSION_MARK]


@contextlib.contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Keep what the command does on SIGTERM: `ray.init` would replace it by an exit with code 15."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _object_store_bytes() -> int:
    """Snapshots pass through it one at a time; Ray's default of 30 % of memory is for data sets."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return int(max(200 << 20, min(4 << 30, 0.1 * pages * size)))


def _bundle(plan: TaskPlan) -> dict[str, float]:
    return {"CPU": plan.cpus} | ({"GPU": plan.gpus} if plan.gpus else {})


def _total(plans: Sequence[TaskPlan]) -> str:
    return f"{sum(p.cpus for p in plans):g} CPUs and {sum(p.gpus for p in plans):g} GPUs"


def _tasks(plans: Sequence[TaskPlan]) -> str:
    return ", ".join(f"{count} {name}" for name, count in count_by_type(plans).items())
