"""What the terminal shows while runs go: progress bars, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from orchestrator.coordinator import Tick
from orchestrator.result import RunResult
from orchestrator.spec import RunSpec
from orchestrator.states import Launching, Training
from workers.messages import Evaluation, ReplicaState

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

PLAIN_SECONDS = 10.0


class LiveView(AbstractContextManager["LiveView"]):
    """Watches runs for a person."""

    def __init__(self, console: Console, *, quiet: bool = False, verbose: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._verbose = verbose
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        self._label = ""
        self._last_line = 0.0
        self._last_text = ""
        self._steps = 0
        self._clock = 0.0
        self._loss: float | None = None
        self._evaluation: Evaluation | None = None

    def __enter__(self) -> LiveView:
        if self._console.is_terminal and not self._quiet:
            self._progress = _progress(self._console)
            self._progress.start()
            self._bar = self._progress.add_task("starting Ray", total=None, detail="")
        else:
            self._say("starting Ray")
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def run_begins(self, spec: RunSpec, run_id: str) -> None:
        self._reset()
        self._label = f"{spec.mode} seed {spec.seed}"

    def launching(self, tick: Tick) -> None:
        state = tick.state
        waiting = len(state.waiting) if isinstance(state, Launching) else 0
        started = sum(status.state is ReplicaState.STARTING for status in tick.statuses)
        detail = f"{waiting} tasks not ready, {started} building" if waiting else "ready"
        self._show(f"launching {self._label}", detail, None, None)

    def training(self, tick: Tick) -> None:
        state = tick.state
        for status in tick.statuses:
            for batch in status.batches:
                self._steps += len(batch.steps)
                self._loss = float(batch.losses[-1])
                self._clock = float(batch.clock[-1])
            for evaluation in status.evaluations:
                self._evaluation = evaluation
                if self._verbose:
                    self._print(f"{self._label}: {_evaluated(evaluation)}")
        if isinstance(state, Training) and state.plan:
            plan = state.plan
            done, total = self._steps * plan.global_batch, plan.total_steps * plan.global_batch
            self._show(self._label, self._detail(done), done, total)

    def run_ended(self, result: RunResult) -> None:
        self._print(f"{result.mode} seed {result.seed}: {outcome(result)}")
        if self._verbose:
            for finding in result.stability.findings:
                self._print(f"  {finding.kind} at step {finding.step}: {finding.symptom}")

    def _reset(self) -> None:
        self._steps = 0
        self._clock = 0.0
        self._loss = self._evaluation = None

    def _detail(self, samples: int) -> str:
        parts = [f"{samples:,} samples"]
        if self._clock > 0:
            parts.append(f"{samples / self._clock:,.0f}/s")
        if self._loss is not None:
            parts.append(f"loss {self._loss:.4g}")
        if self._evaluation is not None:
            parts.append(_metrics(self._evaluation))
        return "  ".join(parts)

    def _show(self, label: str, detail: str, done: float | None, total: float | None) -> None:
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, description=label, completed=done or 0, total=total, detail=detail)
            return
        now = time.monotonic()
        if label != self._last_text or now - self._last_line > PLAIN_SECONDS:
            self._say(f"{label}: {detail}")
            self._last_line, self._last_text = now, label

    def _say(self, text: str) -> None:
        if not self._quiet:
            self._print(text)

    def _print(self, text: str) -> None:
        if not self._quiet:
            self._console.print(text, markup=False, highlight=False)


def outcome(result: RunResult) -> str:
    """One line on how a run ended."""
    parts: list[str] = [result.status if result.status != "succeeded" else "done"]
    target = result.target
    if target is not None and target.reached and target.seconds is not None:
        parts.append(f"reached {target.metric}{target.op}{target.value:g} in {target.seconds:.2f} s")
    elif target is not None and result.status == "succeeded":
        parts.append(f"did not reach {target.metric}{target.op}{target.value:g}")
    if result.status != "succeeded" and result.stop_reason:
        parts.append(result.stop_reason)
    if result.steps is not None and result.seconds.training is not None:
        parts.append(f"{result.steps:,} steps in {result.seconds.training:.2f} s")
    return ", ".join(parts)


def _metrics(evaluation: Evaluation) -> str:
    chosen = [(n, v) for n, v in evaluation.metrics.items() if n != "val_loss"] or list(evaluation.metrics.items())
    return "  ".join(f"{name} {value:.4f}" for name, value in chosen[:2])


def _evaluated(evaluation: Evaluation) -> str:
    stamp = evaluation.stamp
    return f"step {stamp.step:,}, {stamp.clock:.2f} s: {_metrics(evaluation)}"


def _progress(console: Console) -> Progress:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[detail]}", markup=False),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
