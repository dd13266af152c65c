"""What a Serve config file names as `import_path`: the REST interface of one version, on the hosts of a cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from orchestrator.cluster.model_replicas import ask
from orchestrator.cluster.serve_application import application
from orchestrator.errors import UsageError
from orchestrator.serving.listening import Listening
from orchestrator.serving.metrics import Metrics
from orchestrator.serving.model import Limits, LoadError, Model
from orchestrator.serving.ray_engine import described
from orchestrator.serving.refusal import Refusal
from orchestrator.serving.rest import Rest
from orchestrator.serving.service import Service
from orchestrator.serving.signature import Arrays, Description
from orchestrator.serving.versions import Policy, versions_in

_SECONDS = 60.0


def build(args: dict[str, Any]) -> Any:
    """The application for `folder`, `name`, `replicas`, `version` and `token_variable`.

    Raises:
        UsageError: the folder has no such version on this host.
    """
    folder, wanted = Path(args["folder"]), args.get("version")
    found = versions_in(folder)
    if not found or (wanted is not None and wanted not in found):
        raise UsageError(
            f"{folder} has no {'version' if wanted is None else f'version {wanted}'} on this host: it has to be a "
            "folder of numbered SavedModels, on a file system that all hosts of the cluster share."
        )
    version = max(found) if wanted is None else wanted
    replicas = int(args.get("replicas", 1))
    return application(
        Front,
        str(found[version].path),
        replicas,
        name=str(args["name"]),
        version=version,
        concurrent=2 * replicas,
        token_variable=args.get("token_variable"),
    )


class _HandleEngine:
    """Fulfils `orchestrator.serving.model.Engine` for replicas that Ray Serve has started already."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def load(self, version: int, path: Path) -> Description:
        found = await self._handle.describe.remote()
        if found["error"] is not None:
            raise LoadError(f"{path} cannot be loaded: {found['error']}.")
        return described(found)

    async def call(self, version: int, signature: str, inputs: Arrays) -> Arrays:
        status, answer = await ask(self._handle, _SECONDS, signature, inputs)
        if status != "OK":
            raise Refusal(status, answer)  # type: ignore[arg-type]
        return answer  # type: ignore[no-any-return]

    async def unload(self, version: int) -> None:
        """Nothing: Ray Serve ends the application as a whole."""


class Front:
    """The deployment that Ray Serve's proxy sends requests to."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self, path: str, handle: Any, name: str, version: int, concurrent: int, token_variable: str | None
    ) -> None:
        token = os.environ.get(token_variable or "")
        if token_variable and not token:
            raise UsageError(
                f"The environment variable {token_variable} is not set, or empty, where the model is served."
            )
        model = Model(
            name,
            Path(path).parent,
            _HandleEngine(handle),
            policy=Policy(only=frozenset([version])),
            limits=Limits(concurrent=concurrent),
        )
        await model.refresh()
        if not model.ready:
            raise RuntimeError("; ".join(one.error for one in model.versions.values()))
        limits = Listening()
        self._rest = Rest(
            Service(model, Metrics(), token),
            body_bytes=limits.body_bytes,
            body_seconds=limits.body_seconds,
            held_bytes=8 * limits.body_bytes,
        )

    async def __call__(self, request: Any) -> Any:
        """Answer one request of the proxy."""
        from starlette.responses import Response

        sent: list[Any] = []

        async def send(event: Any) -> None:
            sent.append(event)

        await self._rest(request.scope, request.receive, send)
        start, body = sent
        response = Response(body["body"], status_code=start["status"])
        response.raw_headers = start["headers"]
        return response
