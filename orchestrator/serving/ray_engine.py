"""The engine that runs models on Ray Serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.cluster.model_replicas import ModelReplicas
from orchestrator.serving.model import LoadError
from orchestrator.serving.refusal import Refusal
from orchestrator.serving.signature import Arrays, Description, Signature, TensorType


class RayEngine:
    """Fulfils `orchestrator.serving.model.Engine`."""

    def __init__(self, replicas: ModelReplicas) -> None:
        self._replicas = replicas

    async def load(self, version: int, path: Path) -> Description:
        found = await self._replicas.load(version, path)
        if found["error"] is not None:
            raise LoadError(f"{path} cannot be loaded: {found['error']}.")
        return described(found)

    async def call(self, version: int, signature: str, inputs: Arrays) -> Arrays:
        status, answer = await self._replicas.call(version, signature, inputs)
        if status != "OK":
            raise Refusal(status, answer)  # type: ignore[arg-type]
        return answer  # type: ignore[no-any-return]

    async def unload(self, version: int) -> None:
        await self._replicas.unload(version)


def described(found: dict[str, Any]) -> Description:
    """What a replica says about its model, as a Description."""

    def types(tensors: dict[str, Any]) -> dict[str, TensorType]:
        return {name: TensorType(*tensor) for name, tensor in tensors.items()}

    signatures = {
        name: Signature(types(one["inputs"]), types(one["outputs"]), one["method"], one["rows"])
        for name, one in found["signatures"].items()
    }
    return Description(signatures, "; ".join(found["notes"]) or None)
