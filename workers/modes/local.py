"""Local SGD: each worker takes H steps of its own, then all continue from the mean of their states.

The mean is over weights, statistics (BatchNormalization) and the optimizer's float slots, so that one snapshot taken
where a round ends is the whole state. With `outer=nesterov` (DiLoCo) the change of the mean since the last round is a
gradient for an outer optimizer, which moves the trainable variables; its momentum is part of a snapshot.

A step is counted when every worker has taken one, as in `sync`, so that samples and epochs are comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobs.api import Job
from workers.errors import RoundError
from workers.messages import Assignment, Counts
from workers.model.step import TrainStep, make_model
from workers.modes.local_call import LocalCall
from workers.modes.mode import Call, Consult, Decision
from workers.modes.outer import OuterNesterov
from workers.modes.registry import values_of
from workers.modes.sync import SyncMode
from workers.modes.sync_call import SyncCall
from workers.modes.unsupported import refuse_unsupported
from workers.snapshot import Snapshot

if TYPE_CHECKING:
    import keras


_MOST_CALLS = 20
"""Calls of 0.1 s that a round may have to be taken in one: 2 s, in which nothing is reported."""


class LocalMode(SyncMode):
    """One worker of a group that meets every `round_steps` steps; `worker:0` leads."""

    def __init__(self, assignment: Assignment, job: Job) -> None:
        super().__init__(assignment, job)
        values = values_of(self._settings.mode)
        self.round_steps: int = values["number"]
        self._outer: OuterNesterov | None = None
        self._outer_settings = (values["outer_lr"], values["outer_momentum"]) if values["outer"] != "mean" else None
        self._end = 0
        """The step at which the round under way ends in any case."""
        self._parted = False
        """Whether workers have taken steps since they met."""

    @property
    def counts(self) -> Counts:
        return Counts(updates=-(-self.step // self.round_steps), local_steps=self.step * self._workers)

    def begin(self, start: Snapshot, seed: int) -> None:
        self._parted = False
        super().begin(start, seed)

    def advance(self, proposal: Decision, boundary: int, total: int) -> tuple[Sequence[Call], Decision]:
        self._end = total
        done = super().advance(proposal, boundary, total)
        self._parted = self.step % self.round_steps != 0 and self.step != total
        return done

    def _steps(self, agreed: Decision, most: int) -> int:
        # Workers agree at the end of a call, so that one in the middle of a round would have them wait for the slowest.
        left = self.round_steps - self.step % self.round_steps
        free = agreed.consult < Consult.BATCH_ENDS and self._settings.steps_per_call is None
        whole = free and agreed.steps < left <= _MOST_CALLS * agreed.steps
        return min(left if whole else agreed.steps, most)

    def adopt(self, start: Snapshot | None) -> None:
        if self._parted:
            raise RoundError(
                f"a callback changed the model or its optimizer after step {self.step}, in the middle of a round of "
                f"mode {self._settings.mode}: the other workers are elsewhere. Change it where an epoch ends, which is "
                "where a round ends, or use mode sync."
            )
        if self._outer is not None and start is not None:
            self._outer.load(start.outer)
        super().adopt(start)
        if self._outer is not None:
            self._outer.begin_round()

    def snapshot(self, clock: float) -> Snapshot:
        taken = super().snapshot(clock)
        return taken if self._outer is None else replace(taken, outer=self._outer.read())

    def _make_model(self, batch: Any) -> keras.Model:
        """Build a model that one process would have: no variable of it is mirrored, and no gradient is sent."""
        model = make_model(self._job, self._settings.seed, batch)
        refuse_unsupported(model, self._settings.mode, workers=self._replicas, merges=False)
        self._train_step = TrainStep(model)
        if self._outer_settings is not None:
            self._outer = OuterNesterov(model.trainable_variables, *self._outer_settings)
        return model

    def _make_call(self) -> SyncCall:
        return self._new_call(LocalCall, rounds=self._rounds, meet=self._meet)

    def _rounds(self, steps: int) -> tuple[int, int, int]:
        """Steps left of the round under way, steps of the next, and whether the call's last step ends a round."""
        left = self.round_steps - self.step % self.round_steps
        return left, self.round_steps, int(steps > 0 and self.step + steps == self._end)

    def _meet(self) -> None:
        """Trace the mean of all workers' states."""
        import tensorflow as tf

        if self._workers == 1 and self._outer is None:
            return
        variables = [v for v in super()._variables() if tf.as_dtype(v.dtype).is_floating]
        shares = [tf.convert_to_tensor(v.value) / self._workers for v in variables]
        means = shares if self._workers == 1 else self._strategy.run(lambda: self._reducer.sum(shares))
        for variable, mean in zip(variables, means, strict=True):
            (here,) = self._strategy.experimental_local_results(mean)
            variable.assign(here if self._outer is None else self._outer.moved(variable, here))

    def _variables(self) -> list[keras.Variable]:
        return [*super()._variables(), *(self._outer.momentum if self._outer is not None else ())]
