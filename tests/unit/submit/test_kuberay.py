"""The RayJob manifest, validated against the fields and types that KubeRay documents."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from orchestrator.errors import UsageError
from orchestrator.spec.comparison import CompareSpec
from orchestrator.spec.run import RunSpec
from orchestrator.submit import kuberay
from orchestrator.submit.kuberay import CODE, manifests
from tests.conftest import ROOT
from tests.unit.submit.rayjob_schema import CONFIG_MAP, RAYJOB


def made(spec: RunSpec | CompareSpec, claim: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    command = "compare" if isinstance(spec, CompareSpec) else "run"
    labels = {"team": "rowing"}
    config, job = manifests(
        command, spec, "my-run", image="regatta:1", ray_version="2.60.0", claim=claim, metadata=labels
    )
    jsonschema.validate(config, CONFIG_MAP)
    jsonschema.validate(job, RAYJOB)
    assert yaml.safe_load(yaml.safe_dump(job)) == job
    return config, job


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "parts").mkdir()
    for name in ("mine.py", "near.py", "parts/__init__.py"):
        (tmp_path / name).write_text(f"# {name}\n")
    return tmp_path


@pytest.mark.parametrize("claim", [None, "results"])
def test_a_comparison_of_a_users_own_job(folder: Path, claim: str | None) -> None:
    values = {"job": "mine.py:Mine", "directory": str(folder), "workers": 3, "samples": 1000}
    config, job = made(CompareSpec.make(values), claim)
    (volume, results) = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["volumes"]
    files = {item["path"]: config["data"][item["key"]] for item in volume["configMap"]["items"]}
    assert files["near.py"] == "# near.py\n"
    assert set(files) == {"spec.yaml", "mine.py", "near.py", "parts/__init__.py"}
    assert volume["configMap"]["name"] == config["metadata"]["name"]
    there = yaml.safe_load(files["spec.yaml"])
    assert (there["job"], there["directory"]) == ("mine.py:Mine", CODE)
    assert CompareSpec.make(there).seeds == (0, 1, 2)
    assert ("emptyDir" in results) == (claim is None) == (not job["spec"]["shutdownAfterJobFinishes"])
    assert job["spec"]["entrypoint"].startswith(f"regatta compare {CODE}/spec.yaml --address auto")


def test_pods_are_large_enough_for_their_tasks() -> None:
    """Three workers, in one pod with those of each mode; chief, ps, evaluator and Ray itself on the head."""
    _, job = made(CompareSpec.make({"job": "digits", "workers": 3, "resources": {"ps": {"memory_gib": 6}}}))
    cluster = job["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    assert (workers["replicas"], workers["minReplicas"], workers["maxReplicas"]) == (3, 3, 3)
    assert workers["template"]["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "3", "memory": "7Gi"}
    head = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert head["resources"]["limits"] == {"cpu": "4", "memory": "11Gi"}


def test_only_worker_pods_get_gpus_and_labels() -> None:
    values = {"job": "digits", "gpus_per_worker": 2, "worker_labels": {"accelerator": "a100", "zone": "!x"}}
    _, job = made(RunSpec.make(values))
    (workers,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert workers["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert workers["rayStartParams"] == {"labels": "accelerator=a100"}


@pytest.mark.parametrize("name", ["Upper", "a_b", "-a", "a" * 48, ""])
def test_names_that_kubernetes_does_not_accept(name: str) -> None:
    spec = RunSpec.make({"job": "digits"})
    with pytest.raises(UsageError, match=r"^run_id: "):
        manifests("run", spec, name, image="i", ray_version="2", claim=None, metadata={})


def test_too_much_code_for_a_config_map(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kuberay, "MAX_CONFIG_BYTES", 100)
    with pytest.raises(UsageError, match="put it into the image"):
        made(RunSpec.make({"job": "mine.py", "directory": str(folder)}))


def test_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from orchestrator.cli.main import main; main()", "kuberay", "digits",
         "--mode", "async", "--run-id", "quick", "--label", "team=rowing", "--image", "here/regatta:2"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    config, job = yaml.safe_load_all(done.stdout)
    jsonschema.validate(config, CONFIG_MAP)
    jsonschema.validate(job, RAYJOB)
    assert job["spec"]["entrypoint"].startswith("regatta run ")
    assert job["spec"]["metadata"] == {"team": "rowing"}


def test_secrets_are_references_without_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_TOKEN", "canary-5d1c")
    config, job = made(RunSpec.make({"job": "digits", "env_secrets": ["HUB_TOKEN"]}))
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    reference = {"secretKeyRef": {"name": "my-run-secrets", "key": "HUB_TOKEN"}}
    assert head["env"] == [{"name": "HUB_TOKEN", "valueFrom": reference}]
    assert "canary" not in f"{config}{job}"
