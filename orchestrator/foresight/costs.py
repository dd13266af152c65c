"""What a step costs in each mode, from the runs of a probe; whole, or resampled for intervals. Pure.

`COSTS` has one function per value of `ModeTraits.waits_for`. Resampling draws whole pieces of the runs (of 0.1 s or
more) with replacement, so that what neighbouring steps have in common stays together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING

from orchestrator.foresight.measured import WARM_UP, Measured
from orchestrator.foresight.step_time import FEWEST_DRAWS, FORMULAS, MOST_DRAWS, Costs, StepTime, Where, crowded, queued
from workers.modes.registry import number_in, traits
from workers.modes.traits import Waits
from workers.stragglers import Profile

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]
    Random = np.random.Generator

_AWAKE_DRAWS = 100
"""Steps of each worker that stand for a run of the probe if none of its workers slept: all are alike."""
_COLDER = 0.2
"""Share by which the processor time of a step grows with every doubling of workers that sleep in between, and then find
the caches cold: 6.3, 7.2, 9.3 and 10.1 ms with 1, 2, 4 and 8 of them, whose state is in memory. On parameter servers it
does not grow: 22, 20 and 18 ms with 2, 4 and 8."""
_REFINEMENTS = 4
"""Times that what the formula misses of the measured time is added to a step."""


@dataclass(frozen=True)
class Evidence:
    """The runs of a probe, by mode and number of workers, and where they ran."""

    runs: Mapping[tuple[str, int], Measured]
    twice: Measured | None
    """One process with the samples per update of two workers."""
    cores: float
    profile: Profile
    seed: int = 0
    samples: int | None = None
    """Samples of the run to predict; None if they are not known."""

    def where(self, mode: str, workers: int, batch: int, slower: float = 1.0) -> Where:
        """The workers, and as many draws of sleeps as each will make: a real run sleeps exactly those of its seed."""
        each = MOST_DRAWS if self.samples is None else self.samples // (workers * batch)
        draws = max(FEWEST_DRAWS, min(MOST_DRAWS, each))
        return Where(workers, self.cores, self.profile, self.seed, slower, number_in(mode) or 0, draws)

    def where_measured(self, run: Measured) -> Where:
        """The workers of a run of the probe, and the sleeps that it was measured over."""
        each = run.steps * run.samples_per_update // (run.workers * run.batch_size)
        skipped = int(WARM_UP * each) + 1  # the time of the warm-up's last step is in no piece of the run
        where = self.where(run.mode, run.workers, run.batch_size)
        most = MOST_DRAWS if self.profile.sleeps else _AWAKE_DRAWS
        return replace(where, draws=max(1, min(most, each - skipped)), skipped=skipped)

    def lone(self, mode: str) -> Measured | None:
        """A run of `mode` with one worker. Modes that share memory have one in common: alone, their steps are equal."""
        shares = traits(mode).shares_memory
        same = (run for (other, workers), run in self.runs.items() if workers == 1 and traits(other).shares_memory)
        return self.runs.get((mode, 1)) or (next(same, None) if shares else None)

    def several(self, mode: str) -> Measured | None:
        """The run of `mode` with several workers."""
        return next((run for (other, workers), run in self.runs.items() if other == mode and workers > 1), None)

    def start(self, mode: str, workers: int) -> float:
        """Seconds that a run loses at its start, where the first steps of every worker need a core for longer."""

        def turns(count: int) -> float:
            return max(1.0, count / self.cores)

        lost = [run.start / turns(run.workers) for run in self.runs.values() if run.mode == mode]
        return turns(workers) * fmean(lost) if lost else 0.0


def evidence(runs: Mapping[str, Measured], cores: float, seed: int, samples: int | None = None) -> Evidence:
    """The runs of a probe by what they are, without those that also estimated gradient noise."""
    plain = [run for run in runs.values() if not run.estimates_noise]
    small = min(run.batch_size for run in plain)
    found = {(run.mode, run.workers): run for run in plain if run.batch_size == small}
    twice = next((run for run in plain if run.batch_size > small), None)
    return Evidence(found, twice, cores, Profile.parse(plain[0].straggler), seed, samples)


def costs(mode: str, found: Evidence, batch: int, random: Random | None = None) -> Costs | str:
    """What a step of `mode` costs with `batch` samples per worker; or why that is not known."""
    waits = traits(mode).waits_for
    if waits is None:
        return f"there is no model of mode {mode} yet"
    return COSTS[waits](mode, found, batch, random)


def _alone(mode: str, found: Evidence, batch: int, random: Random | None) -> Costs | str:
    """Steps of a larger batch take longer by a straight line through the two sizes that were measured."""
    one, twice = found.runs.get((mode, 1)), found.twice
    if one is None:
        return "the probe has no run of one process"
    work = _awake(one, random)
    if batch == one.batch_size:
        return Costs(work)
    if twice is None:
        return "the probe has one size of batches only"
    slope = float(_awake(twice, random).mean() - work.mean()) / (twice.batch_size - one.batch_size)
    return Costs(work + max(0.0, slope) * (batch - one.batch_size))


def _together(mode: str, found: Evidence, batch: int, random: Random | None) -> Costs | str:
    """An exchange takes what steps of several workers take beyond the slowest of them, at most what the collectives
    took; the rest is the cost of a call, which does not grow with the workers."""
    import numpy as np

    run = found.several(mode)
    if run is None:
        return f"the probe has no run of mode {mode} with two workers"
    work = np.concatenate([_resampled(sample, random) for sample in run.own])
    if run.cpu is None:
        return "the processor time of its tasks was not measured"
    without, where = Costs(work, cpu=run.cpu, colder=_COLDER), found.where_measured(run)
    if run.sleep and run.exchange is not None:  # long sleeps, which are few, would hide what they are compared with
        each = float(np.median(run.exchange))
        return replace(without, exchange=each * (where.number if traits(mode).waits_for == "rounds" else 1))
    measured, slowest = float(_resampled(run.clock, random).mean()), _formula(mode)(without, where).seconds
    beyond = max(0.0, measured - slowest)
    exchange = beyond if run.exchange is None else min(beyond, float(run.exchange.mean()))
    per_exchange = exchange * (where.number if traits(mode).waits_for == "rounds" else 1)
    factor = measured / (slowest + beyond)
    return replace(without, work=work + beyond - exchange, exchange=per_exchange, factor=factor)


def _queueing(mode: str, found: Evidence, batch: int, random: Random | None) -> Costs | str:
    """The processor time of all tasks of an update is the demand on the cores (utilisation law: Lazowska et al. (1984),
    3.2); what several workers take beyond it is added to the work of each."""
    one, run = found.lone(mode), found.several(mode)
    if one is None or run is None:
        return f"the probe has no runs of mode {mode} with one and two workers"
    if run.cpu is None:
        return "the processor time of its tasks was not measured"
    work, own = _awake(one, random), _awake(run, random)
    exposed = min(1.0, (run.staleness or 0.0) * float(run.clock.mean() / own.mean()) * run.workers / (run.workers - 1))
    without = Costs(work, cpu=run.cpu, exposed=exposed, colder=_COLDER if traits(mode).shares_memory else 0.0)
    followed = found.profile.sleeps or traits(mode).bounded
    others = (crowded if followed else queued)(without, found.where_measured(run))
    return replace(without, missing=float(own.mean() - work.mean()) - others)


def _awake(run: Measured, random: Random | None) -> FloatArray:
    """Seconds of a worker's steps without its sleeps.

    Long sleeps are few in a probe, and the wall clock says little of the rest: then they are the steps' own.
    """
    import numpy as np

    if not run.sleep:
        return _positive(run.workers * _resampled(run.clock, random))
    return _positive(np.concatenate([_resampled(sample, random) for sample in run.own]))


def _quorum(mode: str, found: Evidence, batch: int, random: Random | None) -> Costs | str:
    """What steps take beyond their own work, for the round trip to the servers, is found from those of the probe."""
    import numpy as np

    run = found.several(mode)
    if run is None:
        return f"the probe has no run of mode {mode} with several workers"
    if run.cpu is None:
        return "the processor time of its tasks was not measured"
    if run.sleep:
        return Costs(_awake(run, random), cpu=run.cpu)
    work = np.concatenate([_resampled(sample, random) for sample in run.work])
    cycle = run.workers * float(_resampled(run.clock, random).mean())
    found_so_far = Costs(work, cpu=run.cpu)
    for _ in range(_REFINEMENTS):
        missing = cycle - _formula(mode)(found_so_far, found.where_measured(run)).seconds
        found_so_far = replace(found_so_far, missing=found_so_far.missing + missing)
    return found_so_far


def _formula(mode: str) -> Callable[[Costs, Where], StepTime]:
    return FORMULAS[traits(mode).waits_for or "nothing"]


def _positive(sample: FloatArray) -> FloatArray:
    """`sample` without values below zero, which noise in short sleeps may cause."""
    import numpy as np

    return np.asarray(np.maximum(sample, 1e-9), np.float64)


def _resampled(sample: FloatArray, random: Random | None) -> FloatArray:
    import numpy as np

    return sample if random is None else np.asarray(random.choice(sample, len(sample)), np.float64)


COSTS: Mapping[Waits, Callable[[str, Evidence, int, Random | None], Costs | str]] = {
    "nothing": _alone,
    "workers": _together,
    "servers": _queueing,
    "rounds": _together,
    "quorum": _quorum,
    "bound": _queueing,
}
