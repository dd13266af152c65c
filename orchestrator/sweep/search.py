"""Trains the trials of a sweep one after another, in worker groups that those with the same model share."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.control.coordinator import Tick
from orchestrator.errors import ClusterError, RegattaError, UsageError
from orchestrator.results import RunResult, Sweep
from orchestrator.runs.execution import Execution, Schedule, check_stopped
from orchestrator.runs.planned import Planned
from orchestrator.runs.starts import find_start
from orchestrator.runs.watcher import NullWatcher, Watcher
from orchestrator.spec.sweep import ARGUMENT, SweepSpec
from orchestrator.store.directory import RESULT
from orchestrator.store.locks import check_not_driven
from orchestrator.store.metrics import METRICS
from orchestrator.sweep.results import ELAPSED, STEPS, VALUE, best_spec, described, document, trial_label
from orchestrator.sweep.space import SHARED, combinations, parse, shown_name
from orchestrator.sweep.study import Study
from orchestrator.text import number, plain
from workers.messages import PRUNED, TO_BE_RESUMED
from workers.news import Evaluation

if TYPE_CHECKING:
    import optuna

MOST_GROUPS = 6
"""Worker groups that a sweep holds at once. With more combinations it holds one, which trains trials until one needs
another group."""
_LONGEST_VARIANT = 80
Save = Callable[[Sweep, Mapping[str, Any] | None], None]
"""Stores the trials so far, and the spec of the best one if there is one."""


class Search:
    """The trials of one sweep."""

    def __init__(self, spec: SweepSpec, path: Path, watcher: Watcher | None, save: Save) -> None:
        """`save` is called whenever a trial has ended."""
        self._spec = spec
        self._path = path
        self._watcher = watcher or NullWatcher()
        self._save = save
        self._space = {
            name: parse(name, text, plain_values=not name.startswith(ARGUMENT)) for name, text in spec.params.items()
        }
        self.study = Study(path, spec, self._space)
        self._trials: dict[str, optuna.Trial] = {}
        self._evaluations: dict[str, list[int]] = {}
        self._last: RunResult | None = None
        self._deadline = math.inf if spec.run.timeout is None else time.monotonic() + spec.run.timeout

    def run(self) -> Sweep:
        """Train until all trials have ended, or the timeout has passed; returns what came of them.

        Raises:
            KeyboardInterrupt, Preempted: the user or the host ended it; a resumed sweep goes on.
        """
        begun = [self._planned(trial) for trial in self.study.begun()]
        groups = self._groups({self._variant(self._trials[one.run_id].params) for one in begun})
        try:
            if groups is not None:
                begun += [self._planned(self.study.ask(values)) for values in groups]
                first = {planned.spec.variant_name: planned for planned in reversed(begun)}
                if first:
                    self._execute(list(first.values()), self._schedule(begun))
            else:
                while self._deadline > time.monotonic() and (begun or self.study.left):
                    planned = begun.pop(0) if begun else self._planned(self.study.ask())
                    self._execute([planned], self._schedule([planned], begun))
        finally:
            sweep = self._saved()
        return sweep

    def _saved(self) -> Sweep:
        best = self.study.best()
        sweep = document(self._spec, self._path, self.study)
        self._save(sweep, None if best is None else best_spec(self._spec, self.study.trials[best].params))
        return sweep

    def _groups(self, covered: set[str]) -> list[dict[str, Any]] | None:
        """Values for a first trial in each worker group that has none yet; None if one group is held at a time."""
        found = combinations(self._space)
        if found is None or len(found) > MOST_GROUPS:
            return None
        missing = [values for values in found if self._variant(values) not in covered]
        return missing if len(missing) <= self.study.left else None

    def _execute(self, first: list[Planned], schedule: Schedule) -> None:
        left = self._deadline - time.monotonic()
        try:
            Execution(left if math.isfinite(left) else None, self._watcher).run(first, schedule)
        except ClusterError:
            raise  # a resumed sweep trains the trial again
        except RegattaError:
            for planned in first[:1] if self._last is None else ():
                self.study.ended(self._trials[planned.run_id], None)
            raise
        check_stopped(self._last)

    def _schedule(self, waiting: list[Planned], others: list[Planned] | None = None) -> Schedule:
        """The trials of `waiting`, then new ones; with `others`, until one needs another group: it is put there."""
        variant = waiting[0].spec.variant_name
        while waiting or (self.study.left and not others):
            planned = waiting.pop(0) if waiting else self._planned(self.study.ask())
            if others is not None and planned.spec.variant_name != variant:
                others.append(planned)
                return
            result = self._last = yield planned
            if result.stop_reason in TO_BE_RESUMED or result.stop_reason == "timeout":
                return
            self._end(planned, result)

    def _planned(self, trial: optuna.Trial) -> Planned:
        run_id = f"{self._path.name}-t{trial.number:03d}"
        self._trials[run_id] = trial
        spec = self._spec.trial(trial.params, self._variant(trial.params))
        planned = Planned(spec, self._path / "runs" / run_id, run_id, stops=partial(self._stops, run_id))
        if not (planned.path / METRICS).exists():
            return planned
        check_not_driven(planned.path)
        resumed, start = find_start(spec, run_id, planned.path)
        self._tell(trial, f"continues {start}")
        (planned.path / RESULT).unlink(missing_ok=True)
        return replace(planned, claimed=True, resumed=resumed)

    def _variant(self, values: Mapping[str, Any]) -> str:
        """The worker group that trains a trial of these values, in the order of the parameters."""
        own = {name: values[name] for name in self._space if name not in SHARED}
        mode = str(own.pop("mode", self._spec.run.mode))
        name = " ".join([mode, *(f"{shown_name(name)}={value}" for name, value in own.items())])
        if len(name) <= _LONGEST_VARIANT:
            return name
        # Two names that begin alike must not become one: their trials would train in one group, with one's values.
        return f"{name[: _LONGEST_VARIANT - 9]} {hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"

    def _stops(self, run_id: str, tick: Tick) -> str | None:
        """PRUNED if an evaluation in this poll shows that the trial is worse than the others."""
        for news in (news for status in tick.statuses for news in status.news if isinstance(news, Evaluation)):
            if news.stamp.run_id != run_id:
                continue
            value = news.metrics.get(self._spec.metric)
            if value is None:
                raise self._unknown_metric(news.metrics)
            seen = self._evaluations.setdefault(run_id, [])
            seen += [news.stamp.step] if news.stamp.step not in seen else []
            if math.isfinite(value) and self.study.worse(self._trials[run_id], len(seen), value):
                return PRUNED
        return None

    def _end(self, planned: Planned, result: RunResult) -> None:
        trial, value = self._trials[planned.run_id], result.final.get(self._spec.metric)
        pruned = result.stop_reason == PRUNED
        if result.status == "succeeded" and self._spec.metric not in result.final:
            self.study.ended(trial, None)
            raise self._unknown_metric(result.final)
        good = result.status == "succeeded" and value is not None and math.isfinite(value)
        trial.set_user_attr(STEPS, result.steps)
        trial.set_user_attr(ELAPSED, result.seconds.elapsed)
        trial.set_user_attr(VALUE, value if value is not None and math.isfinite(value) else None)
        self.study.ended(trial, value if good else None, pruned=pruned)
        best = self.study.best()
        said = f"{self._spec.metric} {number(value)}" if value is not None else str(result.stop_reason)
        said += " (pruned)" if pruned else "" if good else f" ({result.status})"
        if best is not None:
            said += ", the best so far" if best == trial.number else f"; best so far: trial {best}"
        self._tell(trial, f"{described(trial.params)}: {said}")
        self._saved()

    def _tell(self, trial: optuna.Trial, text: str) -> None:
        self._watcher.recovering(trial_label(trial.number, self.study.over, self._spec.trials), text)

    def _unknown_metric(self, known: Mapping[str, Any]) -> UsageError:
        close = get_close_matches(self._spec.metric, list(known), n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        return UsageError(
            f"metric: {plain(self._spec.metric)!r} is not among what this job measures, {', '.join(map(plain, known))}."
            f"{hint}"
        )
