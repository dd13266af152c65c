"""The control loop: polls a worker group, moves it from state to state, and carries out the orders."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.errors import ClusterError
from orchestrator.spec import Target
from orchestrator.states import (
    Broken,
    Ended,
    Idle,
    Launching,
    Order,
    ScoreSnapshot,
    State,
    StopLeg,
    Training,
    advance,
)
from orchestrator.topology import EVALUATOR
from orchestrator.watch.instability import RecentSnapshots
from orchestrator.worker_group import Assign, SnapshotHandle, WorkerGroup
from workers.messages import Leg, ReplicaStatus, Task, TaskFailure

SHORTEST_WAIT, WAIT_GROWTH = 0.02, 1.3
WAIT_PER_TASK = 0.02
"""The longest wait between polls grows with the group, so that the driver's load does not."""
STOP_GRACE_SECONDS = 15.0
"""How long a leg may take to end after it was asked to, before its group is given up."""


class GroupBroken(Exception):  # noqa: N818 - a state of the group, handled here and in `runner`, never shown
    """A task failed; `cause` is the failure to act on."""

    def __init__(self, cause: TaskFailure, failures: Sequence[TaskFailure]) -> None:
        super().__init__(cause.summary)
        self.cause = cause
        self.failures = tuple(failures)


@dataclass(frozen=True)
class Tick:
    """One turn of the loop, for whoever watches: store, live view, stability monitor."""

    state: State
    statuses: Sequence[ReplicaStatus]


Listener = Callable[[Tick], None]


class Coordinator:
    """Drives one group, and the evaluator it may share with others, through launch and legs."""

    def __init__(
        self,
        group: WorkerGroup,
        evaluator: WorkerGroup,
        *,
        leader: Task,
        trainers: Sequence[Task],
        keeps_snapshots: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`keeps_snapshots`: hold on to a few of each leg, so that it can be rolled back."""
        self._group = group
        self._evaluator = evaluator
        self._leader = leader
        self._trainers = trainers
        self._clock = clock
        self._keeps_snapshots = keeps_snapshots
        self.snapshots: RecentSnapshots[SnapshotHandle] = RecentSnapshots()
        """Of the leg under way."""
        self.state: State = Launching(frozenset(group.tasks))

    def launch(self, assign: Assign) -> None:
        """Order all tasks to start; `await_ready` waits for them."""
        self._group.launch(assign)

    def await_ready(self, deadline: float, listen: Listener) -> None:
        """Until every task of the group, and the evaluator, is ready for a leg.

        Raises:
            GroupBroken: a task failed.
            ClusterError: not all were ready by `deadline`; names those that are missing.
        """
        self.state = Launching(frozenset([*self._group.tasks, *self._evaluator.tasks]))
        seen: Mapping[Task, str] = {}
        wait = SHORTEST_WAIT
        while not isinstance(self.state, Idle):
            statuses = self._turn(wait, listen)
            seen = {**seen, **{status.task: status.state for status in statuses}}
            if isinstance(self.state, Launching) and self._clock() > deadline:
                missing = ", ".join(f"{t} ({seen.get(t, 'silent')})" for t in sorted(self.state.waiting))
                raise ClusterError(
                    f"Not all tasks were ready in time; missing: {missing}. Their logs say how far they came. "
                    "A model that takes long to compile needs a larger launch_timeout; a task that is silent sits "
                    "on a host that cannot be reached."
                )
            wait = 2 * SHORTEST_WAIT

    def run(
        self,
        leg: Leg,
        target: Target | None,
        deadline: float | None,
        listen: Listener,
        snapshot: SnapshotHandle | None = None,
    ) -> Ended:
        """Train one leg to its end, from `snapshot` if `leg.start` says so, and score all its snapshots.

        Raises:
            GroupBroken: a task failed.
        """
        self.state = Training(leg.run_id, target)
        self.snapshots.clear()
        self._group.train(leg, self._trainers, snapshot)
        wait = SHORTEST_WAIT
        longest = max(SHORTEST_WAIT, WAIT_PER_TASK * len(self._group.tasks))
        gives_up: float | None = None
        while True:
            self._turn(wait, listen)
            state = self.state
            if isinstance(state, Ended):
                self.state = Idle()
                return state
            wait = min(longest, wait * WAIT_GROWTH)
            now = self._clock()
            if deadline is not None and now > deadline and gives_up is None:
                gives_up = now + STOP_GRACE_SECONDS
                if not (isinstance(state, Training) and (state.stopping or state.finished)):
                    self._group.request_stop("timeout", self._trainers)
            if isinstance(state, Training) and state.finished:
                continue  # trained in time; its last snapshots are being scored
            if gives_up is not None and now > gives_up:
                raise ClusterError(
                    f"The timeout passed, and the tasks did not stop within {STOP_GRACE_SECONDS:.0f} s of being "
                    "asked to; they were ended. A single call that takes longer than that needs --steps-per-call 1."
                )

    def stop(self, reason: str) -> bool:
        """End the leg under way; False if it ends, or is about to, for another reason."""
        state = self.state
        if not isinstance(state, Training) or state.finished or state.stopping:
            return False
        self.state = replace(state, stopping=reason)
        self._carry_out(StopLeg(reason))
        return True

    def _turn(self, wait: float, listen: Listener) -> list[ReplicaStatus]:
        statuses = [*self._group.poll(wait), *self._evaluator.poll(0)]
        self.state, orders = advance(self.state, statuses, self._clock())
        listen(Tick(self.state, statuses))
        if isinstance(self.state, Broken):
            raise GroupBroken(self.state.cause, self.state.failures)
        for order in orders:
            self._carry_out(order)
        return statuses

    def _carry_out(self, order: Order) -> None:
        if isinstance(order, ScoreSnapshot):
            snapshot = self._group.snapshot(self._leader, order.stamp)
            self._evaluator.score(EVALUATOR, order.stamp, snapshot)
            if self._keeps_snapshots:
                self.snapshots.add(order.stamp, snapshot)
        elif isinstance(order, StopLeg):
            self._group.request_stop(order.reason, self._trainers)
