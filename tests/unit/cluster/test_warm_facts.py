"""Whether a warm machine may be used: only if the command would start the same, and nothing of it has failed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.cluster.warm.facts import READ_AT_IMPORT, Facts, collect, difference
from orchestrator.cluster.warm.found import in_ci
from orchestrator.cluster.warm.state import State, unusable
from orchestrator.plan.topology import TaskPlan
from workers.messages import Task

pytestmark = pytest.mark.unit

FACTS = Facts(
    user="1000",
    python="3.11.7 in /venv",
    packages={"tensorflow": "2.21.0", "idna": "3.1"},
    source="a1",
    installed="b2",
    environment={"HOME": "c3", "TF_NUM_INTRAOP_THREADS": "d4"},
    files={"keras.json": "e5", "Ray's token": "f6"},
    process={"umask": "0022", "set of cores": "0,1"},
)
STATE = State(
    session="warm-1",
    address="127.0.0.1:1",
    mark="warm-1+1",
    pid=1,
    seconds_left=60.0,
    commands=0,
    problem=None,
    ending=False,
    facts=FACTS,
)


def plan(**resources: Any) -> TaskPlan:
    return TaskPlan(Task("worker", 0), 1.0, resources.get("gpus", 0.0), memory_gib=resources.get("memory_gib", 0.0))


def test_the_same_facts_may_use_it() -> None:
    assert unusable(STATE, FACTS, [plan()]) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"user": "0"}, "it is another user's (1000)"),
        ({"python": "3.12.1 in /other"}, "it has another Python (3.11.7 in /venv; here 3.12.1 in /other)"),
        (
            {"packages": {"tensorflow": "2.21.1", "idna": "3.2"}},
            "it has another version of tensorflow (2.21.0; here 2.21.1)",
        ),
        ({"packages": {"tensorflow": "2.21.0"}}, "it has another version of idna (3.1; here none)"),
        ({"source": "a2"}, "Regatta's own code was changed since"),
        ({"installed": "b3"}, "packages were installed since"),
        (
            {"environment": {"HOME": "c3", "XLA_FLAGS": "d5"}},
            "it was started with other values of TF_NUM_INTRAOP_THREADS, XLA_FLAGS",
        ),
        ({"files": {"keras.json": "none", "Ray's token": "f6"}}, "keras.json changed since"),
        ({"process": {"umask": "0077", "set of cores": "0,1"}}, "it was started with another umask"),
    ],
)
def test_what_differs_is_named(changes: dict[str, Any], reason: str) -> None:
    here = replace(FACTS, **changes)
    assert difference(FACTS, here) == reason
    assert unusable(STATE, here, [plan()]) == reason


def test_one_that_has_failed_or_ends_is_not_used() -> None:
    assert unusable(replace(STATE, problem="its zygote has ended"), FACTS, [plan()]) == "its zygote has ended"
    assert unusable(replace(STATE, ending=True), FACTS, [plan()]) == "it ends with the command that uses it"


@pytest.mark.parametrize("reserved", [{"gpus": 1.0}, {"memory_gib": 2.0}])
def test_two_commands_do_not_wait_for_each_others_reservations(reserved: dict[str, float]) -> None:
    plans = [plan(), plan(**reserved)]
    assert unusable(STATE, FACTS, plans) is None
    assert "another command uses it" in (unusable(replace(STATE, commands=1), FACTS, plans) or "")
    assert unusable(replace(STATE, commands=1), FACTS, [plan()]) is None


@pytest.mark.parametrize(
    "name",
    [
        "TF_ENABLE_ONEDNN_OPTS", "TF_XLA_FLAGS", "XLA_FLAGS", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES",
        "KERAS_BACKEND", "KERAS_HOME", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "PYTHONPATH", "PYTHONHASHSEED",
        "RAY_TMPDIR", "RAY_AUTH_TOKEN", "LD_LIBRARY_PATH", "LD_PRELOAD", "TMPDIR", "HOME", "LC_ALL", "LANG", "TZ",
        "MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "TF2_BEHAVIOR",
    ],
)  # fmt: skip
def test_variables_that_the_import_or_ray_reads_matter(name: str) -> None:
    before, after = collect({name: "1"}), collect({name: "2"})
    assert difference(before, after) == f"it was started with other values of {name}"
    assert difference(collect({}), after) == f"it was started with other values of {name}"


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "HUB_TOKEN", "PATH", "TERM", "DATA_DIR", "REGATTA_SESSION"])
def test_other_variables_reach_the_tasks_and_do_not_matter(name: str) -> None:
    assert READ_AT_IMPORT.fullmatch(name) is None
    assert difference(collect({}), collect({name: "x"})) is None


def test_values_leave_the_process_as_digests_only() -> None:
    secret = "0123456789abcdef" * 4
    assert secret not in json.dumps(collect({"RAY_AUTH_TOKEN": secret}).to_json())


def test_a_relative_path_of_modules_means_the_folder_it_is_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = []
    for folder in (tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")):
        monkeypatch.chdir(folder)
        found.append((collect({"PYTHONPATH": "lib"}), collect({"PYTHONPATH": str(folder / "lib")})))
    assert difference(found[0][0], found[1][0]) == "it was started with other values of PYTHONPATH"
    assert [difference(*pair) for pair in found] == [None, None]


def test_a_state_survives_the_way_to_another_process() -> None:
    assert State.read(json.dumps(STATE.to_json()).encode()) == STATE


@pytest.mark.parametrize("answer", [b"", b"null", b"[]", b"{}", b'{"session": "warm-1"}'])
def test_an_answer_that_is_none_is_refused(answer: bytes) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        State.read(answer)


@pytest.mark.parametrize(("value", "is_ci"), [("true", True), ("1", True), ("", False), ("false", False), ("0", False)])
def test_continuous_integration_is_recognised(value: str, is_ci: bool) -> None:
    assert in_ci({"CI": value}) is is_ci
    assert not in_ci({})
