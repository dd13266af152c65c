"""The environment of a task's process."""

from __future__ import annotations

import pytest

from tests.made import assignment
from workers.messages import Task
from workers.session import python_environment
from workers.task.runtime import environment

pytestmark = pytest.mark.unit

TASK = Task("worker", 0)
CONFIG = {"cluster": {"worker": ["node-1:4000", "10.0.0.2:4000"], "ps": ["[fd00::3]:4001"]}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, []),
        ({"no_proxy": "localhost, .example.org"}, ["localhost", ".example.org"]),
        ({"no_proxy": "a", "no_grpc_proxy": "b"}, ["b"]),
        ({"no_proxy": "*"}, ["*"]),
    ],
)
def test_no_proxy_stands_between_tasks(
    given: dict[str, str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = environment(assignment(TASK, CONFIG))["no_grpc_proxy"].split(",")
    assert found == [*expected, "0.0.0.0/0", "::/0", "node-1", "10.0.0.2", "fd00::3"]


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("KERAS_BACKEND", "jax", "tensorflow"),
        ("TF_USE_LEGACY_KERAS", "1", "0"),
        ("TF_CPP_MIN_LOG_LEVEL", "2", "2"),
        ("PYTHONHASHSEED", "7", "7"),
    ],
)
def test_a_sites_variables_are_taken_or_overridden(
    name: str, given: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, given)
    assert (python_environment() | environment(assignment(TASK, CONFIG)))[name] == expected
