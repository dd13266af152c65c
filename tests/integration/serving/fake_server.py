"""The real HTTP and gRPC servers over a model that is a function of this process: neither Ray nor TensorFlow."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from orchestrator.serving.listening import Listening, Servers, open_socket
from orchestrator.serving.metrics import Metrics
from orchestrator.serving.model import Limits, LoadError, Model
from orchestrator.serving.refusal import Refusal
from orchestrator.serving.service import Service
from orchestrator.serving.signature import CLASSIFY, REGRESS, Arrays, Description, Signature, TensorType
from orchestrator.serving.versions import Policy

EXAMPLES = {"examples": TensorType("string", (None,), "examples:0")}


@dataclass
class FunctionEngine:
    """Version n answers with the sum of each row times n; a folder with a file `broken` cannot be loaded."""

    seconds: float = 0.0
    calls: list[int] = field(default_factory=list)
    """Rows of each call."""
    unloaded: list[int] = field(default_factory=list)

    async def load(self, version: int, path: Path) -> Description:
        if (path / "broken").exists():
            raise LoadError(f"{path} cannot be loaded: broken.")
        predict = Signature(
            {"x": TensorType("float32", (None, 3), "x:0")}, {"y": TensorType("float32", (None,), "y:0")}, rows=True
        )
        scores = {"classes": TensorType("string", (None, 2), "c:0"), "scores": TensorType("float32", (None, 2), "s:0")}
        return Description(
            {
                "serving_default": predict,
                "classify": Signature(EXAMPLES, scores, CLASSIFY),
                "regress": Signature(EXAMPLES, {"outputs": TensorType("float32", (None,), "o:0")}, REGRESS),
            }
        )

    async def call(self, version: int, signature: str, inputs: Arrays) -> Arrays:
        await asyncio.sleep(self.seconds)
        rows = len(next(iter(inputs.values())))
        self.calls.append(rows)
        if signature == "classify":
            classes = np.empty((rows, 2), object)
            classes[:] = [[b"a", b"b"]]
            return {"classes": classes, "scores": np.tile(np.array([0.25, 0.75], np.float32), (rows, 1))}
        if signature == "regress":
            return {"outputs": np.array([len(row) for row in inputs["examples"]], np.float32)}
        if (inputs["x"] == 666).any():
            raise Refusal("INVALID_ARGUMENT", "the model does not take 666")
        return {"y": inputs["x"].sum(1) * version}

    async def unload(self, version: int) -> None:
        self.unloaded.append(version)


@dataclass
class Served:
    """A server, and what a test may look into."""

    port: int
    grpc_port: int
    engine: FunctionEngine
    model: Model
    loop: asyncio.AbstractEventLoop
    told: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def refresh(self) -> None:
        """Look at the folder of versions now."""
        asyncio.run_coroutine_threadsafe(self.model.refresh(), self.loop).result(60)


def add_version(folder: Path, number: int, *, broken: bool = False) -> None:
    (folder / str(number)).mkdir(parents=True)
    if broken:
        (folder / str(number) / "broken").touch()
    (folder / str(number) / "saved_model.pb").touch()


@contextmanager
def served(
    folder: Path,
    *,
    engine: FunctionEngine | None = None,
    limits: Limits | None = None,
    policy: Policy | None = None,
    labels: dict[str, int] | None = None,
    token: str | None = None,
    body_bytes: int = 1 << 20,
    body_seconds: float = 30,
    header_seconds: float = 30,
) -> Iterator[Served]:
    """Serve the versions in `folder` as `my_model` from a thread of this process."""
    engine = engine or FunctionEngine()
    told: list[str] = []
    metrics = Metrics()
    model = Model(
        "my_model",
        folder,
        engine,
        policy=policy,
        labels=labels,
        limits=limits,
        tell=told.append,
        observe=lambda version, rows: metrics.batch("my_model", version, rows),
    )
    settings = Listening(
        port=0, grpc_port=0, body_bytes=body_bytes, body_seconds=body_seconds, header_seconds=header_seconds, drain=10
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        with open_socket("127.0.0.1", 0, "--port") as http:
            servers = Servers(Service(model, metrics, token), settings, http)

            async def start() -> None:
                await model.refresh()
                await servers.start()

            asyncio.run_coroutine_threadsafe(start(), loop).result(60)
            try:
                yield Served(http.getsockname()[1], servers.grpc_port or 0, engine, model, loop, told)
            finally:
                asyncio.run_coroutine_threadsafe(servers.stop(), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()
