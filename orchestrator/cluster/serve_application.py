"""One version of a model as an application of Ray Serve, which a cluster keeps running after the command has ended."""

from __future__ import annotations

from typing import Any

from orchestrator.cluster.model_replicas import quiet
from orchestrator.cluster.served_version import ServedVersion

MODEL, FRONT = "model", "rest"
"""Names of its deployments."""


def application(front: type, path: str, replicas: int, **arguments: Any) -> Any:
    """`front`, which gets the replicas' handle as `handle` and the `arguments`, before the model in folder `path`."""
    from ray import serve

    model = serve.deployment(
        ServedVersion, name=MODEL, num_replicas=replicas, max_ongoing_requests=100, logging_config=quiet()
    )
    rest = serve.deployment(front, name=FRONT, max_ongoing_requests=2000, logging_config=quiet())
    return rest.bind(path=path, handle=model.bind(path), **arguments)
