"""What is measured: one function per figure, from a session to records, contenders taking turns."""

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
    """One command: how often everything is repeated, and all that was measured."""

    repetitions: int
    scale: float = 1.0
    """Of every budget; below 1 for a quick look."""
    records: list[Record] = field(default_factory=list)

    def turns(self, contenders: Sequence[Contender]) -> Iterator[tuple[int, Contender]]:
        """Every repetition in turn, all contenders in each: a machine that drifts hurts all of them."""
        present = [contender for contender in contenders if not self._misses(contender)]
        for repetition in range(self.repetitions):
            for contender in present:
                yield repetition, contender

    def add(self, figure: str, contender: str, unit: str, repetition: int, value: float, before: float) -> None:
        self.records.append(Record(figure, contender, unit, repetition, value, before))
        say(f"  {figure}: {contender}: {value:,.4g} {unit}")

    def timed(self, figure: str, contender: str, unit: str, repetition: int, measure: Callable[[], float]) -> None:
        """Add what `measure` returns, with the load from before it; nothing where the contender fails."""
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
    """Least squares, of (x, y)."""
    xs, ys = zip(*points, strict=True)
    return statistics.linear_regression(xs, ys).slope
