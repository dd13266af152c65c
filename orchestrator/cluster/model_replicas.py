"""Replicas of models on Ray Serve: an application for each version, so that one that breaks breaks nothing else.

What crosses from a replica is plain data: descriptions, arrays, and the names of errors. Requests go to the models'
processes directly; Ray Serve starts, watches and replaces these, and carries the requests where they cannot connect.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.cluster.model_line import ModelLines
from orchestrator.cluster.served_version import ServedVersion, outcome
from workers.session import session_directory

_START_SECONDS = 300.0
_PAUSE = 0.1


class ModelReplicas:
    """The versions of one model on the Ray that this process is connected to."""

    def __init__(self, name: str, session: str, *, local: bool, replicas: int, seconds: float) -> None:
        """`local`: the replicas are on this host; `seconds` is how long a call may take, replacing a lost replica
        included."""
        self._name = name
        self._session = session
        self._local = local
        self._replicas = replicas
        self._seconds = seconds
        self._handles: dict[int, Any] = {}
        self._lines = ModelLines()

    async def start(self) -> None:
        """Start Ray Serve if it is not running. Its own HTTP proxy is not needed."""
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.ERROR)  # it reports every start and end on stderr
        await _aside(functools.partial(serve.start, proxy_location="Disabled", logging_config=quiet()))
        await self._lines.listen(session_directory(self._session) if self._local else None, _address_in_the_cluster())

    async def load(self, version: int, path: Path) -> dict[str, Any]:
        """Start the replicas of a version; returns what `ServedVersion.describe` does."""
        try:
            handle = await asyncio.wait_for(_aside(self._run, version, path), _START_SECONDS)
            found: dict[str, Any] = await asyncio.wait_for(handle.describe.remote(), _START_SECONDS)
        except Exception as error:  # noqa: BLE001 - Ray Serve's errors have no common class
            found = {"error": f"its replicas did not start: {' '.join(str(error).split())[:500]}"}
        else:
            self._handles[version] = handle
        if found["error"] is not None:
            await self.unload(version)
        return found

    def _run(self, version: int, path: Path) -> Any:
        from ray import serve

        served = serve.deployment(
            ServedVersion,
            name="model",
            num_replicas=self._replicas,
            max_ongoing_requests=100,  # fewer are sent: batches wait in front of Ray
            health_check_period_s=1,
            health_check_timeout_s=30,
            graceful_shutdown_timeout_s=5,
            ray_actor_options={"num_cpus": 0 if self._local else 1},
            logging_config=quiet(),
        )
        name = self._application(version)
        return serve.run(served.bind(str(path), self._session, self._lines.address(name)), name=name, route_prefix=None)

    async def call(self, version: int, signature: str, inputs: dict[str, Any]) -> tuple[str, Any]:
        """The outputs of a version, or an error."""
        if (handle := self._handles.get(version)) is None:
            return "UNAVAILABLE", f"Version {version} is not served any more."
        model = self._application(version)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                while (line := self._lines.least_busy(model)) is not None:
                    with contextlib.suppress(ConnectionError):  # the call that its process took with it is made again
                        return outcome(await line.ask({"signature": signature}, inputs))
                return await ask(handle, self._seconds, signature, inputs)
        return "UNAVAILABLE", f"No replica has answered for {self._seconds:g} s."

    async def unload(self, version: int) -> None:
        """End the replicas of a version."""
        from ray import serve

        self._handles.pop(version, None)
        await _aside(serve.delete, self._application(version))

    def _application(self, version: int) -> str:
        return f"regatta-{self._name}-{os.getpid()}-{version}"


async def ask(handle: Any, seconds: float, signature: str, inputs: dict[str, Any]) -> tuple[str, Any]:
    """What a replica answers, or an error. A call that a replica took with it when it died is made again."""
    from ray.exceptions import RayActorError
    from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError

    lost = (RayActorError, BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError)
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    answered: tuple[str, Any] = await handle.answer.remote(signature, inputs)
                    return answered
                except lost:
                    await asyncio.sleep(_PAUSE)
    except TimeoutError:
        return "UNAVAILABLE", f"No replica has answered for {seconds:g} s."


def _address_in_the_cluster() -> str | None:
    """The address at which hosts of the cluster reach this process; None if it is not on one of them (`ray://`)."""
    import ray

    return None if ray.util.client.ray.is_connected() else ray.util.get_node_ip_address()


async def _aside(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns that blocks; the end of this process does not wait for it, as for asyncio's threads."""
    loop = asyncio.get_running_loop()
    returned: asyncio.Future[Any] = loop.create_future()

    def settle(set_: Callable[[Any], None], outcome: Any) -> None:
        if not returned.done():  # it was given up
            set_(outcome)

    def call() -> None:
        try:
            outcome = function(*arguments)
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            report: tuple[Any, ...] = (settle, returned.set_exception, error)
        else:
            report = (settle, returned.set_result, outcome)
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(*report)

    threading.Thread(target=call, name="regatta-serve", daemon=True).start()
    return await returned


def quiet() -> dict[str, Any]:
    """Logging of a deployment: warnings only, and no line for each request."""
    return {"log_level": "WARNING", "enable_access_log": False}
