"""Serves a model until a signal ends it: what `regatta serve` does."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.cluster.connection import RayBackend
from orchestrator.cluster.model_replicas import ModelReplicas
from orchestrator.control import signals
from orchestrator.errors import ClusterError, Interrupted, Terminated, UsageError
from orchestrator.serving.listening import Listening, Servers, open_socket
from orchestrator.serving.metrics import Metrics
from orchestrator.serving.model import Limits, Model
from orchestrator.serving.ray_engine import RayEngine
from orchestrator.serving.service import Service
from orchestrator.serving.source import folder_of
from orchestrator.serving.versions import Policy
from orchestrator.spec.run import RunSpec
from workers.addresses import join
from workers.session import session_directory
from workers.supervisor.process import start_zygote

Tell = Callable[[str], None]
_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Serving:
    """What is to be served, and how."""

    source: Path
    name: str
    listening: Listening = field(default_factory=Listening)
    limits: Limits = field(default_factory=Limits)
    policy: Policy = field(default_factory=Policy)
    labels: dict[str, int] = field(default_factory=dict)
    replicas: int = 1
    seconds: float = 60.0
    poll_seconds: float = 2.0
    address: str | None = None
    token: str | None = None
    access_log: bool = False


def serve(serving: Serving, tell: Tell) -> None:
    """Serve until SIGTERM, SIGHUP or Ctrl-C, and answer what was asked before.

    Raises:
        UsageError: there is nothing to serve, a port is taken, or Ray Serve is not installed.
        ClusterError: no version could be loaded.
        Interrupted: Ctrl-C ended it.
    """
    if any(importlib.util.find_spec(needed) is None for needed in ("uvicorn", "httptools", "orjson")):
        raise UsageError("Ray Serve is not installed: `pip install 'regatta[serve]'`.")
    signals.install_handlers()
    stopped = "all processes it started were stopped."
    try:
        ended_by = _serve(serving, tell)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted before anything was served; {stopped}") from None
    except signals.Preempted:
        raise Terminated(f"ended by a signal before anything was served; {stopped}") from None
    if ended_by == signal.SIGINT:
        raise Interrupted(f"interrupted; all requests at hand were answered, and {stopped}")


def _serve(serving: Serving, tell: Tell) -> signal.Signals:
    """Serve until a signal arrives, and return it; one that arrives before raises what `control.signals` says."""
    folder = folder_of(serving.source).absolute()
    listening = serving.listening
    with open_socket(listening.host, listening.port, "--port") as http:
        spec = RunSpec.make({"job": "digits", "address": serving.address})
        local = serving.address is None
        session = f"serve-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        with (
            signals.deferred(),
            _session_folder(session),
            contextlib.closing(start_zygote(session)) if local else contextlib.nullcontext(),
            RayBackend(session, spec, (), with_code=not local),
        ):
            replicas = ModelReplicas(
                serving.name, session, local=local, replicas=serving.replicas, seconds=serving.seconds
            )
            try:
                with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                    return runner.run(_until_ended(serving, folder, replicas, http, tell, local=local))
            finally:
                for signum in _ENDS:  # Ray's processes are ended now; asyncio has restored the handlers that kill
                    signal.signal(signum, signal.SIG_IGN)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, which comes with the extra on most systems: it takes less processor time for each request."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop  # type: ignore[no-any-return]


@contextlib.contextmanager
def _session_folder(session: str) -> Iterator[None]:
    """Remove the session's folder, in which Ray's was, at the end."""
    try:
        yield
    finally:
        shutil.rmtree(session_directory(session), ignore_errors=True)


async def _until_ended(
    serving: Serving, folder: Path, replicas: ModelReplicas, http: socket.socket, tell: Tell, *, local: bool
) -> signal.Signals:
    engine = RayEngine(replicas)
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[signal.Signals] = loop.create_future()

    def arrived(signum: signal.Signals) -> None:
        if not ended.done():
            ended.set_result(signum)

    for signum in _ENDS:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            loop.add_signal_handler(signum, arrived, signum)
    if signals.requested():  # while Ray started
        raise signals.ending()
    metrics = Metrics()
    model = Model(
        serving.name,
        folder,
        engine,
        policy=serving.policy,
        labels=serving.labels,
        limits=serving.limits,
        tell=tell,
        observe=lambda version, rows: metrics.batch(serving.name, version, rows),
    )

    async def load() -> None:
        await replicas.start()
        await model.refresh()

    loading = loop.create_task(load())
    waited: list[asyncio.Future[Any]] = [loading, ended]
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    if ended.done():
        loading.cancel()
        return ended.result()
    await loading
    if not model.ready:
        errors = "; ".join(version.error for version in model.versions.values())
        raise ClusterError(
            f"Nothing in {folder} can be served. {errors or 'No version is one that --versions asks for.'}"
        )
    service = Service(model, metrics, serving.token, tell if serving.access_log else None)
    servers = Servers(service, serving.listening, http)
    await servers.start()
    _announce(serving, servers, http, tell)
    watching = loop.create_task(_watch(model, serving.poll_seconds, tell))
    reason = await ended
    tell(f"{reason.name}: answering {model.waiting} requests, then ending")
    watching.cancel()
    await servers.stop()
    if not local:  # this host's Ray ends with all that is in it
        for version in model.versions.values():
            if version.state == "AVAILABLE":
                await engine.unload(version.number)
    return reason


def _announce(serving: Serving, servers: Servers, http: socket.socket, tell: Tell) -> None:
    host = serving.listening.host
    port = http.getsockname()[1]
    tell(f"REST: http://{join(host, port)}/v1/models/{serving.name}:predict")
    if servers.grpc_port is not None:
        tell(f"gRPC: {join(host, servers.grpc_port)}")
    if host not in ("127.0.0.1", "::1", "localhost"):
        guard = "asks for its token" if serving.token else "asks for no token"
        tell(f"other hosts can reach this server, which {guard} and does not encrypt")


async def _watch(model: Model, seconds: float, tell: Tell) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await model.refresh()
        except Exception as error:  # noqa: BLE001 - what is served has to go on
            tell(f"the versions could not be looked at: {type(error).__name__}: {error}")
