"""Kubernetes manifests for a run or a comparison: a RayJob for the KubeRay operator, and a ConfigMap with the code.

Field names: https://ray-project.github.io/kuberay/reference/api/ (ray.io/v1); `authOptions` needs KubeRay 1.5.
"""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from jobs.staged import FOLDER, job_file
from orchestrator.cluster.staging import stage
from orchestrator.errors import UsageError
from orchestrator.plan.topology import TaskPlan, evaluator_plan, training_plans
from orchestrator.spec import trust
from orchestrator.spec.comparison import CompareSpec
from orchestrator.spec.files import base_of, spec_file
from orchestrator.spec.run import RunSpec

CODE = "/etc/regatta/job"
RESULTS = "/home/ray/regatta-runs"
MAX_CONFIG_BYTES = 1 << 20
"""Kubernetes' limit for a ConfigMap."""
GIB_PER_TASK = 2.0
"""Default where the spec sets no memory: a TensorFlow process of a small model takes 0.7 GiB."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,45}[a-z0-9])?")
_TTL_SECONDS = 600


def manifests(
    command: str,
    spec: RunSpec | CompareSpec,
    name: str,
    *,
    image: str,
    ray_version: str,
    claim: str | None,
    metadata: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Build a ConfigMap with spec and code, and the RayJob; `claim` names a PersistentVolumeClaim for the results.

    Raises:
        UsageError: Kubernetes does not accept `name`, or the code is too large for a ConfigMap.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"run_id: {name!r} is not a valid name for a RayJob: use up to 47 lower-case letters, digits and '-'."
        )
    files = _files(spec)
    volumes = [
        {"name": "job", "configMap": {"name": f"{name}-job", "items": [{"key": _key(p), "path": p} for p in files]}},
        {"name": "results", "persistentVolumeClaim": {"claimName": claim}} if claim else _SCRATCH,
    ]
    mounts = [{"name": "job", "mountPath": CODE}, {"name": "results", "mountPath": RESULTS}]
    head, worker = _pod_resources(spec)
    cluster = {
        "rayVersion": ray_version,
        "authOptions": {"mode": "token"},
        "headGroupSpec": {
            "rayStartParams": {"dashboard-host": "0.0.0.0"},  # noqa: S104 - the pod's own network
            "template": _pod("ray-head", image, head, volumes, mounts, _secrets(name, spec)),
        },
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "replicas": base_of(spec).workers,
                "minReplicas": base_of(spec).workers,
                "maxReplicas": base_of(spec).workers,
                "rayStartParams": _labels(base_of(spec).worker_labels),
                "template": _pod("ray-worker", image, worker, [], []),
            }
        ],
    }
    job = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name},
        "spec": {
            "entrypoint": shlex.join(_entrypoint(command, name, spec)),
            "metadata": dict(metadata),
            "backoffLimit": 0,
            # Without a volume claim the results exist in the head pod only.
            "shutdownAfterJobFinishes": claim is not None,
            "ttlSecondsAfterFinished": _TTL_SECONDS if claim else 0,
            "rayClusterSpec": cluster,
        },
    }
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{name}-job"},
        "data": {_key(path): text for path, text in files.items()},
    }
    return [config, job]


def _entrypoint(command: str, name: str, spec: RunSpec | CompareSpec) -> list[str]:
    """The user has confirmed here what the spec gives away; the file in the cluster needs that again."""
    confirmed = trust.as_flags(base_of(spec).model_dump() | {"address": None})
    fixed = ["--address", "auto", "--run-id", name, "--out", f"{RESULTS}/{name}"]
    return ["regatta", command, f"{CODE}/spec.yaml", *fixed, *confirmed]


_SCRATCH: dict[str, Any] = {"name": "results", "emptyDir": {}}


def _files(spec: RunSpec | CompareSpec) -> dict[str, str]:
    """Text of each file by path: spec.yaml and the user's code."""
    run = base_of(spec)
    if run.include:
        raise UsageError("include: a ConfigMap holds the job's code only. Put its data into the image, or a volume.")
    with tempfile.TemporaryDirectory(prefix="regatta-kuberay-") as folder:
        stage(Path(folder), run.job, run.directory)
        code = Path(folder) / FOLDER
        texts = {path.relative_to(code).as_posix(): path.read_text("utf-8") for path in sorted(code.rglob("*.py"))}
    if parts := job_file(run.job):
        staged_job = f"{Path(parts[0]).name}{f':{parts[1]}' if parts[1] else ''}"
        run = run.model_copy(update={"job": staged_job})
        spec = spec.model_copy(update={"run": run}) if isinstance(spec, CompareSpec) else run
    files = {"spec.yaml": spec_file(spec, CODE), **texts}
    if (size := sum(len(text.encode()) for text in files.values())) > MAX_CONFIG_BYTES:
        raise UsageError(
            f"The job's code is {size:,} bytes, but a ConfigMap holds at most 1 MiB: put it into the image."
        )
    return files


def _key(path: str) -> str:
    """Key of a file in the ConfigMap, where slashes are not allowed."""
    return path.replace("/", "--")


def _pod_resources(spec: RunSpec | CompareSpec) -> tuple[dict[str, Any], dict[str, Any]]:
    """Resources of the head pod, which runs every task except the workers, and of each worker pod.

    The groups of a comparison are launched together, so their CPUs and memory add up. GPUs do not: a comparison for
    which the cluster is too small launches one group at a time.
    """
    runs = [spec.variant(name, spec.seeds[0]) for name in spec.variants] if isinstance(spec, CompareSpec) else [spec]
    groups = [training_plans(run) for run in runs]
    others = [plan for group in groups for plan in group if plan.task.type != "worker"] + [evaluator_plan(runs[0])]
    # Variants may have more workers than the base run has pods: the extra workers are spread over the pods.
    pods = base_of(spec).workers
    workers = [plan for group in groups for plan in group if plan.task.type == "worker"]
    per_pod = ceil(len(workers) / pods)
    gpus = max(plan.gpus for plan in workers)
    return _resources(others, 0, 1), _resources(sorted(workers, key=lambda plan: -plan.cpus)[:per_pod], gpus, 0)


def _resources(plans: Sequence[TaskPlan], gpus: float, spare_cpus: int) -> dict[str, Any]:
    cpus = ceil(sum(plan.cpus for plan in plans)) + spare_cpus
    memory = ceil(sum(plan.memory_gib or GIB_PER_TASK for plan in plans)) + 1
    amounts: dict[str, Any] = {"cpu": str(cpus), "memory": f"{memory}Gi"}
    if gpus:
        amounts["nvidia.com/gpu"] = str(int(gpus))
    return {"requests": amounts, "limits": dict(amounts)}


def _labels(wanted: Mapping[str, str]) -> dict[str, str]:
    """`ray start` parameters that give worker pods the labels that the spec requires of workers."""
    plain = {key: value for key, value in wanted.items() if not value.startswith(("!", "in("))}
    return {"labels": ",".join(f"{key}={value}" for key, value in plain.items())} if plain else {}


def _secrets(name: str, spec: RunSpec | CompareSpec) -> list[dict[str, Any]]:
    """Environment of the head, where the driver runs, read from a Secret: the manifest contains no value."""
    wanted = base_of(spec).env_secrets
    return [{"name": v, "valueFrom": {"secretKeyRef": {"name": f"{name}-secrets", "key": v}}} for v in wanted]


def _pod(
    name: str,
    image: str,
    resources: dict[str, Any],
    volumes: list[dict[str, Any]],
    mounts: list[dict[str, Any]],
    env: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    container = {"name": name, "image": image, "resources": resources} | ({"volumeMounts": mounts} if mounts else {})
    container |= {"env": list(env)} if env else {}
    return {"spec": {"containers": [container]} | ({"volumes": volumes} if volumes else {})}
