"""A Serve config file, which `serve deploy` takes, and a RayService for the KubeRay operator, which contains one.

Fields: https://docs.ray.io/en/latest/serve/production-guide/config.html and
https://ray-project.github.io/kuberay/reference/api/ (ray.io/v1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import UsageError

IMPORT_PATH = "orchestrator.serving.application:build"
HTTP_PORT = 8000
"""Where KubeRay's Service for RayServices leads."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,45}[a-z0-9])?")
_CPU, _MEMORY = 2, "4Gi"
"""Of a pod: a replica has one CPU, and a TensorFlow process of a small model takes 0.7 GiB."""


@dataclass(frozen=True)
class Deployed:
    """What is to be served on a cluster."""

    folder: str
    """Of numbered versions, as the cluster's hosts see it."""
    name: str
    replicas: int = 1
    version: int | None = None
    """None for the latest when it is deployed."""
    token_variable: str | None = None


def serve_config(deployed: Deployed, *, host: str, port: int) -> dict[str, Any]:
    """The content of a Serve config file."""
    arguments = {
        "folder": deployed.folder,
        "name": deployed.name,
        "replicas": deployed.replicas,
        "version": deployed.version,
        "token_variable": deployed.token_variable,
    }
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": host, "port": port},
        "applications": [
            {
                "name": deployed.name,
                "route_prefix": "/",
                "import_path": IMPORT_PATH,
                "args": {name: value for name, value in arguments.items() if value is not None},
            }
        ],
    }


def ray_service(deployed: Deployed, service: str, *, image: str, ray_version: str, claim: str | None) -> dict[str, Any]:
    """The RayService; `claim` names a PersistentVolumeClaim that has the versions, else the image has them.

    Raises:
        UsageError: Kubernetes does not accept the name.
    """
    import yaml

    if not _NAME.fullmatch(service):
        raise UsageError(
            f"--service: {service!r} is not a valid name for a RayService: use up to 47 lower-case letters, digits "
            "and '-'."
        )
    config = serve_config(deployed, host="0.0.0.0", port=HTTP_PORT) | {"proxy_location": "EveryNode"}  # noqa: S104
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": service},
        "spec": {
            "serveConfigV2": yaml.safe_dump(config, sort_keys=False),
            "rayClusterConfig": {
                "rayVersion": ray_version,
                "authOptions": {"mode": "token"},
                "headGroupSpec": {
                    "rayStartParams": {"dashboard-host": "0.0.0.0", "num-cpus": "1"},  # noqa: S104 - the pod's network
                    "template": _pod("ray-head", image, deployed, claim, service),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": "replicas",
                        "replicas": deployed.replicas,
                        "minReplicas": deployed.replicas,
                        "maxReplicas": deployed.replicas,
                        "rayStartParams": {},
                        "template": _pod("ray-worker", image, deployed, claim, service),
                    }
                ],
            },
        },
    }


def _pod(name: str, image: str, deployed: Deployed, claim: str | None, service: str) -> dict[str, Any]:
    amounts = {"cpu": str(_CPU), "memory": _MEMORY}
    container: dict[str, Any] = {
        "name": name,
        "image": image,
        "resources": {"requests": amounts, "limits": dict(amounts)},
    }
    if variable := deployed.token_variable:
        key = {"secretKeyRef": {"name": f"{service}-secrets", "key": variable}}
        container["env"] = [{"name": variable, "valueFrom": key}]
    if claim is None:
        return {"spec": {"containers": [container]}}
    container["volumeMounts"] = [{"name": "versions", "mountPath": deployed.folder, "readOnly": True}]
    volume = {"name": "versions", "persistentVolumeClaim": {"claimName": claim}}
    return {"spec": {"containers": [container], "volumes": [volume]}}
