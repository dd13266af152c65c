"""One Ray head with a dashboard for all tests that need no more than a cluster on this machine."""

from __future__ import annotations

import importlib.util
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.ray_nodes import Head, Node, head_here


@dataclass(frozen=True)
class Shared:
    head: Head
    home: Path
    """Home directory of the cluster's jobs."""
    secret: str
    """Value of HEADS_SECRET in the environment of `ray start`."""


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    home, secret = tmp_path_factory.mktemp("home"), f"canary-{secrets.token_hex(8)}"
    dashboard = importlib.util.find_spec("aiohttp_cors") is not None
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HEADS_SECRET", secret)
        with head_here(Node(cpus=9), dashboard=dashboard, home=home) as head:
            environment.delenv("HEADS_SECRET")
            yield Shared(head, home, secret)


@pytest.fixture(scope="session")
def head(shared: Shared) -> Head:
    return shared.head
