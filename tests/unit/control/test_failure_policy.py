"""When a failure is retried: every kind of failure, every retry budget, and invariants over any sequence."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.control.failure_policy import MACHINES, MAX_ADDRESS_ATTEMPTS, FailurePolicy, RetryBudget
from orchestrator.control.run_progress import RunProgress
from tests.made import status
from workers.messages import FailureKind, Task, TaskFailure
from workers.news import CheckpointWritten, LegStarted, ReplicaStatus, StepBatch

pytestmark = pytest.mark.unit

W0 = Task("worker", 0)
PORTS = (FailureKind.ADDRESS_TAKEN, FailureKind.LATE)


def failure(kind: FailureKind) -> TaskFailure:
    return TaskFailure(W0, kind, "why")


@pytest.mark.parametrize("kind", FailureKind)
@pytest.mark.parametrize("spent", range(6))
@pytest.mark.parametrize("allowed", [0, 1, 3, 5])
def test_every_kind_with_every_budget(kind: FailureKind, spent: int, allowed: int) -> None:
    decision = FailurePolicy(max_restarts=allowed).decide(failure(kind), RetryBudget(restarts=spent))
    if kind in PORTS:
        assert decision.again
    elif kind in MACHINES:
        assert decision.again == (spent < allowed)
        assert decision.again or "--max-restarts" in decision.reason
    else:
        assert not decision.again
        assert decision.budget == RetryBudget(restarts=spent)


def test_a_restart_refills_the_attempts_with_new_ports() -> None:
    decision = FailurePolicy().decide(failure(FailureKind.PEER), RetryBudget(address_attempts=2))
    assert decision.budget == RetryBudget(restarts=1)


@pytest.mark.parametrize("kind", [FailureKind.USER, FailureKind.SPEC])
def test_errors_in_code_are_never_retried(kind: FailureKind) -> None:
    assert not FailurePolicy(max_restarts=1000).decide(failure(kind), RetryBudget()).again


@pytest.mark.parametrize("kind", PORTS)
def test_new_ports_are_tried_three_times_and_not_charged(kind: FailureKind) -> None:
    policy, budget = FailurePolicy(), RetryBudget(restarts=3)
    for tries in range(1, MAX_ADDRESS_ATTEMPTS):
        decision = policy.decide(failure(kind), budget)
        assert (decision.again, decision.wait) == (True, 0.0)
        assert decision.budget == RetryBudget(restarts=3, address_attempts=tries)
        budget = decision.budget
    assert not policy.decide(failure(kind), budget).again


def test_the_first_restart_is_immediate_and_waits_double_after_that() -> None:
    policy = FailurePolicy(max_restarts=12, first_wait=1.0, longest_wait=60.0)
    budget, waits = RetryBudget(), []
    for _ in range(12):
        decision = policy.decide(failure(FailureKind.PEER), budget)
        waits.append(decision.wait)
        budget = decision.budget
    assert waits == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
    assert not policy.decide(failure(FailureKind.PEER), budget).again


def test_only_progress_refills_the_budget() -> None:
    spent = RetryBudget(restarts=3, address_attempts=2, reached=100)
    assert spent.after_progress(100) == spent
    assert spent.after_progress(50) == spent
    assert spent.after_progress(101) == RetryBudget(reached=101)


KINDS = st.sampled_from(list(FailureKind))


@given(st.lists(st.one_of(KINDS, st.integers(0, 500)), max_size=60), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_any_history_is_finite_without_progress(history: list[FailureKind | int], allowed: int) -> None:
    """Without progress in between, there are at most `allowed` charged restarts."""
    policy, budget, charged, reached = FailurePolicy(max_restarts=allowed), RetryBudget(), 0, 0
    for event in history:
        if isinstance(event, int):
            charged = 0 if event > reached else charged
            reached = max(reached, event)
            budget = budget.after_progress(event)
            continue
        decision = policy.decide(failure(event), budget)
        if not decision.again:
            assert event not in MACHINES or charged == allowed
            return
        charged += event in MACHINES
        assert charged <= allowed
        assert 0 <= decision.wait <= policy.longest_wait
        budget = decision.budget


def test_a_run_that_always_crashes_gives_up_unless_it_makes_progress() -> None:
    progress, policy = RunProgress("r", None, 0.0), FailurePolicy()
    crashes = list(
        itertools.takewhile(lambda d: d.again, (progress.decide(failure(FailureKind.PEER), policy) for _ in range(9)))
    )
    assert [decision.wait for decision in crashes] == [0.0, 1.0, 2.0]

    def written(step: int) -> ReplicaStatus:
        return status(W0, CheckpointWritten("r", 1, step, step, 1.0, "name", 10, 0.1))

    progress, policy = RunProgress("r", None, 0.0), FailurePolicy(max_restarts=1)
    for step in range(10, 200, 10):
        progress.observe([written(step)], 0.0)
        assert progress.decide(failure(FailureKind.INFRASTRUCTURE), policy).again
    progress.observe([written(190)], 0.0)
    assert not progress.decide(failure(FailureKind.INFRASTRUCTURE), policy).again


def test_the_clock_continues_while_nothing_trains() -> None:
    import numpy as np

    progress = RunProgress("r", None, 100.0)
    assert progress.clock(100.0) == 0.0
    progress.observe([status(W0, LegStarted("r", 10, 1, 1))], 100.0)
    assert progress.clock(105.0) == 5.0
    batch = StepBatch("r", 0, np.array([1, 2]), np.array([3.0, 5.5]), np.ones(2), None, 0.1, spent={"callbacks": 1.0})
    progress.observe([status(W0, batch)], 105.0)
    assert progress.clock(105.0) == 5.5, "the start was reported late"
    assert progress.clock(135.0) == 35.5
    assert progress.spent(135.0) == {"callbacks": 1.0, "recovery": 30.0}
    progress.observe([status(W0, LegStarted("r", 10, 1, 1, clock=37.0))], 138.0)
    assert progress.clock(140.0) == 39.0
    assert RunProgress("r", 7.0, 100.0).clock(102.0) == 9.0
