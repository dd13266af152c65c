"""cluster.yaml against Ray's own schema, defaults, local provider and command line; nothing is started."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((REPOSITORY / "cluster.yaml").read_text())
    return loaded


@pytest.fixture
def bootstrapped(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What `ray up` makes of the file before it opens the first ssh connection."""
    from ray.autoscaler._private import commands
    from ray.autoscaler._private.local import node_provider

    # The local provider keeps its state in Ray's temporary folder; the test leaves none behind.
    monkeypatch.setattr(node_provider, "get_lock_path", lambda name: str(tmp_path / f"{name}.lock"))
    monkeypatch.setattr(node_provider, "get_state_path", lambda name: str(tmp_path / f"{name}.state"))
    resolved: dict[str, Any] = commands._bootstrap_config(config, no_config_cache=True)
    return resolved


def test_ray_accepts_the_file(bootstrapped: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import validate_config

    validate_config(bootstrapped)
    assert bootstrapped["head_node_type"] == "local.cluster.node"


def test_every_worker_is_kept(config: dict[str, Any], bootstrapped: dict[str, Any]) -> None:
    workers = len(config["provider"]["worker_ips"])
    node_type = bootstrapped["available_node_types"]["local.cluster.node"]
    assert (node_type["min_workers"], node_type["max_workers"]) == (workers, workers)


def test_the_provider_finds_head_and_workers(bootstrapped: dict[str, Any]) -> None:
    from ray.autoscaler._private.providers import _get_node_provider
    from ray.autoscaler.tags import NODE_KIND_HEAD, NODE_KIND_WORKER, TAG_RAY_NODE_KIND

    provider = _get_node_provider(bootstrapped["provider"], bootstrapped["cluster_name"], use_cache=False)
    kinds = {ip: node["tags"][TAG_RAY_NODE_KIND] for ip, node in provider.state.get().items()}
    expected = {bootstrapped["provider"]["head_ip"]: NODE_KIND_HEAD}
    expected |= dict.fromkeys(bootstrapped["provider"]["worker_ips"], NODE_KIND_WORKER)
    assert kinds == expected
    assert provider.non_terminated_nodes({}) == []


@pytest.mark.parametrize("key", ["workers", "head_node", "available_node_types"])
def test_ray_refuses_other_keys(config: dict[str, Any], key: str) -> None:
    """So that the test above is known to bite."""
    import click
    import jsonschema
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises((click.ClickException, jsonschema.ValidationError)):
        validate_config(prepare_config({**config, key: {"some": {}}}))


def test_what_is_copied_is_all_that_the_install_needs(config: dict[str, Any]) -> None:
    mounts = dict(config["file_mounts"])
    assert mounts.pop("~/.ray/auth_token") == "~/.ray/auth_token"
    assert mounts == {f"~/regatta/{name}": name for name in mounts.values()}
    needed = {"pyproject.toml", "README.md", "LICENSE", "constraints.txt", "orchestrator", "workers", "jobs"}
    assert set(mounts.values()) == needed


def test_shell_reads_the_commands(bootstrapped: dict[str, Any]) -> None:
    lists = ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands")
    script = "\n".join(command for name in lists for command in bootstrapped[name])
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(
    ("list_name", "variables"),
    [
        ("head_start_ray_commands", ["RAY_enable_autoscaler_v2=0", "RAY_AUTH_MODE=token"]),
        ("worker_start_ray_commands", ["RAY_AUTH_MODE=token"]),
    ],
)
def test_ray_knows_the_commands_and_flags(config: dict[str, Any], list_name: str, variables: list[str]) -> None:
    from ray.scripts.scripts import cli

    modes = []
    for command in config[list_name]:
        words = shlex.split(command.replace("$RAY_HEAD_IP", config["provider"]["head_ip"]))
        while "=" in words[0]:
            modes.append(words.pop(0))
        program, name, *arguments = words
        assert program == "~/regatta-venv/bin/ray"
        cli.commands[name].make_context(name, arguments)  # parses, and raises on an unknown flag
    assert modes == variables


def test_setup_installs_into_the_environment_that_runs(config: dict[str, Any]) -> None:
    installs = [command for command in config["setup_commands"] if " install " in command]
    assert installs == ["~/regatta-venv/bin/pip install -q -c ~/regatta/constraints.txt ~/regatta'[cluster]'"]
