"""Injects faults into a run, from a plan or drawn at random from a seed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.chaos.watched_runs import Onlooker
from workers.messages import Task


@dataclass(frozen=True)
class Strike:
    """One fault: a signal to a task's process."""

    task: Task
    signal: signal.Signals
    step: int
    """The fault is injected when this update has been reported."""

    def __str__(self) -> str:
        return f"{self.signal.name} to {self.task} at step {self.step}"


@dataclass
class Nemesis(Onlooker):
    """Executes `plan`: each strike once, in order."""

    plan: Sequence[Strike] = ()
    struck: list[tuple[float, Strike]] = field(default_factory=list)
    """Times of the strikes, in seconds since the epoch."""

    def __post_init__(self) -> None:
        super().__init__()
        self._left = list(self.plan)
        self.acts.append(lambda _: self._act())

    def _act(self) -> None:
        while self._left and self.step >= self._left[0].step:
            strike = self._left.pop(0)
            if self.send(strike.task, strike.signal):
                self.struck.append((time.time(), strike))


def draw(seed: int, tasks: Sequence[Task], steps: int, count: int) -> list[Strike]:
    """Draw `count` strikes at random tasks and steps, the last one well before step `steps`."""
    chance = random.Random(seed)
    signals = (signal.SIGKILL, signal.SIGSTOP)
    at = sorted(chance.randint(1, int(0.8 * steps)) for _ in range(count))
    return [Strike(chance.choice(list(tasks)), chance.choice(signals), step) for step in at]


class Throttle:
    """Lets a process run an eighth of the time, so that it is slow but alive."""

    def __init__(self, pid: int, share: float = 1 / 8, period: float = 0.08) -> None:
        self._pid, self._share, self._period = pid, share, period
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Throttle:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            while not self._over.wait(self._share * self._period):
                os.kill(self._pid, signal.SIGSTOP)
                self._over.wait((1 - self._share) * self._period)
                os.kill(self._pid, signal.SIGCONT)
            os.kill(self._pid, signal.SIGCONT)


Act = Callable[[Onlooker], None]


def once(condition: Callable[[Onlooker], bool], act: Act) -> Act:
    """Call `act` at the first poll at which `condition` holds."""
    done: list[bool] = []

    def look(onlooker: Onlooker) -> None:
        if not done and condition(onlooker):
            done.append(True)
            act(onlooker)

    return look
