"""The figures: one function each, which adds records to a session, with contenders taking turns."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.child import ChildFailed
from benchmarks.contenders import Contender
from benchmarks.machine import load, missing
from benchmarks.records import Record


@dataclass
class Session:
    """One benchmark command: its repetitions, and everything it has measured."""

    repetitions: int
    scale: float = 1.0
    """Factor for every budget; below 1 for a quick result."""
    records: list[Record] = field(default_factory=list)

    def turns(self, contenders: Sequence[Contender]) -> Iterator[tuple[int, Contender]]:
        """Yield all contenders in every repetition, so that drift of the machine affects all of them."""
        present = [contender for contender in contenders if not self._misses(contender)]
        for repetition in range(self.repetitions):
            for contender in present:
                yield repetition, contender

    def add(self, figure: str, contender: str, unit: str, repetition: int, value: float, before: float) -> None:
        self.records.append(Record(figure, contender, unit, repetition, value, before))
        say(f"  {figure}: {contender}: {value:,.4g} {unit}")

    def timed(self, figure: str, contender: str, unit: str, repetition: int, measure: Callable[[], float]) -> None:
        """Add the value that `measure` returns, with the load before it; nothing if the contender fails."""
        before = load()
        try:
            value = measure()
        except ChildFailed as failure:
            say(f"  {figure}: {contender}: {failure}")
        else:
            self.add(figure, contender, unit, repetition, value, before)

    def _misses(self, contender: Contender) -> bool:
        lacking = missing(tuple(contender.needs))
        if lacking:
            say(f"  left out: {contender.name}: {', '.join(lacking)} not installed (pip install '.[peers]')")
        return bool(lacking)


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def slope(points: Iterable[tuple[float, float]]) -> float:
    """Least-squares slope of (x, y) points."""
    xs, ys = zip(*points, strict=True)
    return statistics.linear_regression(xs, ys).slope
