"""The error tree: exit codes, messages, and that every error survives being pickled."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import errors
from orchestrator.errors import (
    ClusterError,
    HostLostError,
    Interrupted,
    JobError,
    RegattaError,
    ResourcesError,
    SpecError,
    TaskDiedError,
    Terminated,
    UsageError,
)

pytestmark = pytest.mark.unit

EXAMPLES = [
    RegattaError("a"),
    UsageError("a: b"),
    SpecError("workers", "0 is not allowed"),
    SpecError("workers", "workers: again"),
    JobError("it failed", "Traceback ...", Path("logs/worker-0.log")),
    JobError("it failed"),
    Interrupted("stopped"),
    Terminated("received SIGTERM"),
    ClusterError("gone"),
    ResourcesError("too small"),
    HostLostError("gone"),
    TaskDiedError("worker:1"),
]


def tree(root: type[RegattaError]) -> Iterator[type[RegattaError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


def test_there_is_an_example_of_each() -> None:
    assert {type(example) for example in EXAMPLES} == set(tree(RegattaError))


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_pickling_keeps_everything(error: RegattaError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert (str(copy), copy.exit_code) == (error.message, error.exit_code)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (RegattaError, 4),
        (UsageError, 2),
        (SpecError, 2),
        (JobError, 3),
        (Interrupted, 130),
        (ClusterError, 4),
        (ResourcesError, 2),
        (TaskDiedError, 4),
    ],
)
def test_exit_codes(kind: type[RegattaError], code: int) -> None:
    assert kind.exit_code == code


def test_the_tree_in_the_docstring_is_complete() -> None:
    drawn = {
        words[0]: int(words[1])
        for line in (errors.__doc__ or "").splitlines()
        if len(words := line.replace("│", "").replace("├──", "").replace("└──", "").split()) > 1 and words[1].isdigit()
    }
    assert drawn == {kind.__name__: kind.exit_code for kind in tree(RegattaError) if kind is not RegattaError}


def test_a_spec_error_names_its_field() -> None:
    error = SpecError("workers", "0 is not allowed")
    assert (error.field, error.message) == ("workers", "workers: 0 is not allowed")
