"""JSON Schema of the parts of KubeRay's RayJob and RayService (ray.io/v1) and of pods that our manifests may use.

Written from the API references of KubeRay (https://ray-project.github.io/kuberay/reference/api/) and Kubernetes. Unlike
the published schema it allows no other fields, so that a misspelt one is found here and not by a cluster.
"""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": TEXT}
QUANTITY = {
    "anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"}]
}
NAME = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}


def record(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object", "properties": properties, "required": list(required), "additionalProperties": False
    }  # fmt: skip


def many(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


QUANTITIES = {"type": "object", "additionalProperties": QUANTITY}
SECRET = record(("name", "key"), name=NAME, key={"type": "string", "pattern": r"^[-._a-zA-Z0-9]{1,253}$"})
CONTAINER = record(
    ("name", "image"),
    name=NAME,
    image=TEXT,
    command=many(TEXT),
    args=many(TEXT),
    env=many(record(("name",), name=TEXT, value=TEXT, valueFrom=record(secretKeyRef=SECRET))),
    resources=record(requests=QUANTITIES, limits=QUANTITIES),
    volumeMounts=many(record(("name", "mountPath"), name=NAME, mountPath=TEXT, readOnly={"type": "boolean"})),
)
CONFIG = record(
    ("name",),
    name=NAME,
    items=many(record(("key", "path"), key={"type": "string", "pattern": r"^[-._a-zA-Z0-9]{1,253}$"}, path=TEXT)),
)
VOLUME = record(
    ("name",),
    name=NAME,
    configMap=CONFIG,
    emptyDir=record(),
    persistentVolumeClaim=record(("claimName",), claimName=TEXT),
)
POD = record(
    ("spec",),
    metadata=record(labels=TEXTS),
    spec=record(("containers",), containers=many(CONTAINER), volumes=many(VOLUME)),
)
HEAD = record(("rayStartParams", "template"), rayStartParams=TEXTS, serviceType=TEXT, template=POD, labels=TEXTS)
WORKERS = record(
    ("groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"),
    groupName=NAME,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    numOfHosts=COUNT,
    rayStartParams=TEXTS,
    labels=TEXTS,
    template=POD,
)
CLUSTER = record(
    ("headGroupSpec",),
    rayVersion=TEXT,
    authOptions=record(mode={"enum": ["disabled", "token"]}),
    enableInTreeAutoscaling={"type": "boolean"},
    headGroupSpec=HEAD,
    workerGroupSpecs=many(WORKERS),
)
RAYJOB = record(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=record(
        ("name",), name={"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]{0,45}[a-z0-9])?$"}, labels=TEXTS
    ),
    spec=record(
        entrypoint=TEXT,
        metadata=TEXTS,
        runtimeEnvYAML=TEXT,
        jobId=TEXT,
        backoffLimit=COUNT,
        activeDeadlineSeconds={"type": "integer", "minimum": 1},
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=COUNT,
        suspend={"type": "boolean"},
        clusterSelector=TEXTS,
        rayClusterSpec=CLUSTER,
    ),
)
RAYSERVICE = record(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayService"},
    metadata=record(
        ("name",), name={"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]{0,45}[a-z0-9])?$"}, labels=TEXTS
    ),
    spec=record(
        ("rayClusterConfig", "serveConfigV2"),
        serveConfigV2=TEXT,
        rayClusterConfig=CLUSTER,
        rayClusterDeletionDelaySeconds=COUNT,
        excludeHeadPodFromServeSvc={"type": "boolean"},
        serviceUnhealthySecondThreshold=COUNT,
        deploymentUnhealthySecondThreshold=COUNT,
        upgradeStrategy=record(type={"enum": ["NewCluster", "None", "NewClusterWithIncrementalUpgrade"]}),
        suspend={"type": "boolean"},
    ),
)
CONFIG_MAP = record(
    ("apiVersion", "kind", "metadata", "data"),
    apiVersion={"const": "v1"},
    kind={"const": "ConfigMap"},
    metadata=record(("name",), name=NAME),
    data=TEXTS,
)
