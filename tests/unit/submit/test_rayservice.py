"""Serve config files, and RayServices for the KubeRay operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from orchestrator.cli.main import build
from orchestrator.errors import UsageError
from orchestrator.submit.rayservice import Deployed, ray_service, serve_config
from tests.unit.submit.rayjob_schema import RAYSERVICE

pytestmark = pytest.mark.unit

DEPLOYED = Deployed("/models/digits", "my_model", replicas=3, version=2, token_variable="TOKEN")


def service(deployed: Deployed = DEPLOYED, name: str = "digits", claim: str | None = "models") -> dict[str, Any]:
    return ray_service(deployed, name, image="regatta:0.1", ray_version="2.60.0", claim=claim)


@pytest.mark.parametrize("claim", [None, "models"])
@pytest.mark.parametrize("deployed", [DEPLOYED, Deployed("/models", "m")])
def test_it_is_a_ray_service(deployed: Deployed, claim: str | None) -> None:
    document = service(deployed, claim=claim)
    jsonschema.validate(document, RAYSERVICE)
    inner = yaml.safe_load(document["spec"]["serveConfigV2"])
    assert inner["applications"] == serve_config(deployed, host="127.0.0.1", port=8000)["applications"]
    assert inner["http_options"] == {"host": "0.0.0.0", "port": 8000}


def test_pods_have_the_versions_and_a_reference_to_the_token() -> None:
    cluster = service()["spec"]["rayClusterConfig"]
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["replicas"] == 3
    for template in (cluster["headGroupSpec"]["template"], workers["template"]):
        (container,) = template["spec"]["containers"]
        assert container["volumeMounts"] == [{"name": "versions", "mountPath": "/models/digits", "readOnly": True}]
        assert container["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "digits-secrets", "key": "TOKEN"}


@pytest.mark.parametrize("name", ["", "Digits", "a_b", "a" * 48, "-a"])
def test_names_that_kubernetes_does_not_accept(name: str) -> None:
    with pytest.raises(UsageError, match="--service"):
        service(name=name)


def test_the_command(tmp_path: Path) -> None:
    run = CliRunner().invoke
    printed = run(build(), ["serve-config", "/models", "--name", "m", "--replicas", "2"])
    assert yaml.safe_load(printed.stdout)["applications"][0]["args"] == {
        "folder": "/models",
        "name": "m",
        "replicas": 2,
    }
    file = tmp_path / "service.yaml"
    assert run(build(), ["serve-config", "/models", "--service", "digits", "--out", str(file)]).exit_code == 0
    jsonschema.validate(yaml.safe_load(file.read_text()), RAYSERVICE)
    refused = run(build(), ["serve-config", "/models", "--name", "a/b"])
    assert isinstance(refused.exception, UsageError)
