"""A first signal stops the leg, so that it can be resumed; a second one ends the command."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from orchestrator.control import events, orders, signals
from orchestrator.control.machine import Machine, Rules
from tests.made import status
from workers.messages import INTERRUPTED, PREEMPTED, FailureKind, Task, TaskFailure

pytestmark = pytest.mark.unit

W0, EVALUATOR = Task("worker", 0), Task("evaluator", 0)
KINDS = [
    (signal.SIGINT, INTERRUPTED, KeyboardInterrupt),
    (signal.SIGTERM, PREEMPTED, signals.Preempted),
    (signal.SIGHUP, PREEMPTED, signals.Preempted),
]


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {signum: signal.signal(signum, signal.SIG_DFL) for signum, *_ in KINDS}
    signals.install_handlers()
    yield
    signals.install_handlers()  # forgets the reason
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize(("signum", "reason", "ends"), KINDS)
def test_a_second_signal_ends_the_command(handlers: None, signum: int, reason: str, ends: type[BaseException]) -> None:
    with signals.deferred():
        os.kill(os.getpid(), signum)
        assert signals.requested() == reason
        with pytest.raises(ends):
            os.kill(os.getpid(), signum)


@pytest.mark.parametrize(("signum", "reason", "ends"), KINDS)
def test_where_nothing_is_to_be_saved_the_first_does(
    handlers: None, signum: int, reason: str, ends: type[BaseException]
) -> None:
    with pytest.raises(ends):
        os.kill(os.getpid(), signum)
    assert signals.requested() == reason


@pytest.mark.parametrize("reason", [INTERRUPTED, PREEMPTED])
def test_it_stops_the_leg_once_and_no_attempt_follows(reason: str) -> None:
    machine = Machine(Rules())
    machine.advance(events.Launched((W0,), (EVALUATOR,)), 100.0)
    machine.advance(events.RunBegan("r", "warn"), 100.0)
    machine.advance(events.LegOrdered("r"), 100.0)

    def stops(*news: object) -> list[str]:
        given = machine.advance(events.Polled([status(W0, *news)], reason), 101.0)
        return [order.reason for order in given if isinstance(order, orders.StopLeg)]

    assert stops() == [reason]
    assert stops() == []
    dead = status(W0, failure=TaskFailure(W0, FailureKind.INFRASTRUCTURE, "killed"))
    assert isinstance(machine.advance(events.Polled([dead]), 102.0)[-1], orders.Preempt)
