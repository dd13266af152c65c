"""The control loop: polls a worker group, passes what it reports to the machine, and carries out the orders."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from orchestrator.cluster.worker_group import Assign, SnapshotHandle, WorkerGroup
from orchestrator.control import events, orders, signals
from orchestrator.control.events import Event
from orchestrator.control.machine import Machine
from orchestrator.control.orders import Order, Outcome
from orchestrator.control.run_progress import RunProgress
from orchestrator.control.states import State
from orchestrator.metric_target import MetricTarget
from orchestrator.results import Finding
from workers.messages import Leg, Task, TaskFailure
from workers.modes.traits import ModeTraits
from workers.news import ReplicaStatus

SHORTEST_WAIT, WAIT_GROWTH = 0.02, 1.3
LONG_WAIT, LONGEST_WAIT = 0.25, 0.5
"""Seconds between polls after a second of a leg, and after 20 seconds. Polling every 60 ms took a quarter of a core
from two workers on two cores, in the driver and the supervisors."""
WAIT_PER_SECOND = LONGEST_WAIT / 20
"""Growth of the wait with a leg's duration: its end is noticed late by a fortieth of the leg at most."""
WAIT_PER_TASK = 0.02
"""Growth of the longest wait with the number of tasks, so that the driver's load does not grow."""


@dataclass(frozen=True)
class Tick:
    """One iteration of the loop, for listeners: store, live view, monitor."""

    state: State
    statuses: Sequence[ReplicaStatus]
    replaced: tuple[TaskFailure, ...] = ()
    """New failures that the group survives, because their tasks are replaced."""


Listener = Callable[[Tick], None]


class Coordinator:
    """Drives one worker group, and its evaluator, which other groups may share, through launch and legs.

    When an attempt breaks, another group may replace it (`renew`); unscored snapshots are kept.
    """

    def __init__(
        self,
        group: WorkerGroup,
        evaluator: WorkerGroup,
        mode: ModeTraits,
        machine: Machine,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._evaluator = evaluator
        self._mode = mode
        self._machine = machine
        self._clock = clock
        self._scoring = False
        """Whether a snapshot was sent to the evaluator since the last poll."""
        self.renew(group)

    @property
    def state(self) -> State:
        return self._machine.state

    @property
    def progress(self) -> RunProgress:
        return self._machine.progress

    def renew(self, group: WorkerGroup, mode: ModeTraits | None = None) -> None:
        """Drive `group` from now on, which is not launched yet; its number of workers, and `mode`, may be others."""
        self._group, self._mode = group, mode or self._mode
        workers = sum(task.type == "worker" for task in group.tasks)
        self._trainers = self._mode.trainers(workers)
        replaceable = frozenset(self._mode.replaceable(workers))
        calls, bounded = self._mode.calls_in_flight, self._mode.bounded
        self._advance(events.Launched(group.tasks, self._evaluator.tasks, replaceable, calls, bounded))

    def launch(self, assign: Assign) -> None:
        """Start all tasks; `await_ready` waits for them."""
        self._group.launch(assign)

    def begin_run(self, began: events.RunBegan) -> None:
        """The group trains another run from now on."""
        self._advance(began)

    def await_ready(self, deadline: float, listen: Listener) -> Outcome:
        """Wait until every task, including the evaluator, is ready for a leg, or the attempt broke."""
        self._advance(events.ReadyAwaited(deadline))
        wait = SHORTEST_WAIT
        while True:
            if (outcome := self._poll(wait, listen)) is not None:
                return outcome
            wait = 2 * SHORTEST_WAIT

    def train(
        self,
        leg: Leg,
        target: MetricTarget | None,
        deadline: float | None,
        listen: Listener,
        snapshot: SnapshotHandle | None = None,
    ) -> Outcome:
        """Train one leg to its end, starting from `snapshot` if `leg.start` is set, and score all its snapshots."""
        lost = frozenset(stamp for stamp, handle in self._machine.awaited.items() if not self._group.holds(handle))
        wait, started = SHORTEST_WAIT, self._clock()
        with signals.deferred():
            for order in self._machine.advance(events.LegOrdered(leg.run_id, target, deadline, lost), started):
                if isinstance(order, orders.Train):
                    self._group.train(replace(leg, number=order.number), self._trainers, snapshot)
                else:
                    self._carry_out(order, listen)
            while (outcome := self._poll(wait, listen)) is None:
                wait = min(self._longest_wait(self._clock() - started), wait * WAIT_GROWTH)
                if self._scoring and target is not None:
                    wait = SHORTEST_WAIT  # growing, so that a score is noticed late by a third of its time at most
                self._scoring = False
        return outcome

    def stop(self, reason: str) -> None:
        """Stop the current leg, unless it has ended or is stopping for another reason."""
        self._advance(events.StopRequested(reason))

    def react(self, finding: Finding) -> str:
        """React to `finding`; returns the action taken, for `Finding.action`."""
        decided = self._machine.advance(events.FindingMade(finding), self._clock())
        for order in decided:
            self._carry_out(order, _ignore)
        return next(order.action for order in decided if isinstance(order, orders.ActionTaken))

    def launch_failed(self, failure: TaskFailure) -> Outcome:
        """Decide whether to retry after an attempt could not be launched."""
        (outcome,) = self._machine.advance(events.LaunchFailed(failure), self._clock())
        return outcome  # type: ignore[return-value]  # the machine answers this event with an outcome

    def task_moved(self, task: Task) -> None:
        """Start `task` in its new bundle, after its host was lost."""
        self._advance(events.TaskMoved(task))

    def _poll(self, wait: float, listen: Listener) -> Outcome | None:
        """Poll once; returns the outcome if the leg or the attempt ended."""
        statuses = [*self._group.poll(wait), *self._evaluator.poll(0)]
        outcome: Outcome | None = None
        for order in self._machine.advance(events.Polled(statuses, signals.requested()), self._clock()):
            if isinstance(order, Outcome):
                outcome = order
            else:
                self._carry_out(order, listen)
        match outcome:
            case orders.Preempt():
                raise signals.ending()
            case orders.Abort(error):
                raise error
        return outcome

    def _carry_out(self, order: Order, listen: Listener) -> None:
        match order:
            case orders.Score(stamp):
                handle = self._group.snapshot(self._mode.leader, stamp)
                self._evaluator.score(self._evaluator.tasks[0], stamp, handle)
                self._scoring = True
                self._advance(events.SnapshotSent(stamp, handle))
            case orders.ScoreAgain(stamp, handle):
                self._evaluator.score(self._evaluator.tasks[0], stamp, handle)
            case orders.ReportScore(evaluation):
                self._group.scored(self._mode.leader, evaluation)
            case orders.StopLeg(reason, number):
                self._group.request_stop(reason, number, self._trainers)
            case orders.ReplaceTask(task):
                (self._evaluator if task in self._evaluator.tasks else self._group).replace(task)
            case orders.Report(state, statuses, replaced):
                listen(Tick(state, statuses, replaced))

    def _advance(self, event: Event) -> None:
        for order in self._machine.advance(event, self._clock()):
            self._carry_out(order, _ignore)

    def _longest_wait(self, seconds: float) -> float:
        """The longest wait between polls of a leg that has lasted `seconds`."""
        by_age = min(LONGEST_WAIT, WAIT_PER_SECOND * seconds)
        return max(LONG_WAIT, by_age, WAIT_PER_TASK * len(self._group.tasks))


def _ignore(_: Tick) -> None: ...
