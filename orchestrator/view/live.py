"""What the terminal shows while runs go: a dashboard, or plain lines where there is no terminal."""

from __future__ import annotations

import sqlite3
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.control.coordinator import Tick
from orchestrator.control.states import Launching, Training
from orchestrator.errors import UsageError
from orchestrator.results import RunResult
from orchestrator.spec.run import RunSpec
from orchestrator.view.board import Board
from orchestrator.view.dashboard import draw, duration
from orchestrator.view.feed import Feed
from orchestrator.view.outcome import outcome
from workers.news import CheckpointFailed, Evaluation, ReplicaState

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live

PLAIN_SECONDS = 10.0
REFRESH_SECONDS = 2.0
"""A picture takes 6 to 9 ms of cores that are to train."""


class LiveView(AbstractContextManager["LiveView"]):
    """Watches runs for a person."""

    def __init__(self, console: Console, *, quiet: bool = False, verbose: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._verbose = verbose
        self._live: Live | None = None
        self._status = "starting"
        self._feeds: dict[str, Feed] = {}
        self._labels: dict[str, str] = {}
        self._current: str | None = None
        """The run that trains."""
        self._looked = self._said = 0.0
        self._topic = ""

    def __enter__(self) -> LiveView:
        if self._console.is_terminal and not self._quiet:
            from rich.live import Live

            self._live = Live(_Picture(self), console=self._console, auto_refresh=False, transient=True)
            self._live.start(refresh=True)
        else:
            self._say(self._status)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        for feed in self._feeds.values():
            feed.close()

    @property
    def board(self) -> Board | None:
        """Of the run that trains."""
        feed = self._feeds.get(self._current or "")
        return feed.board if feed else None

    @property
    def status(self) -> str:
        """What goes on while no run trains."""
        return self._status

    def run_begins(self, spec: RunSpec, run_id: str, path: Path) -> None:
        self._labels[run_id] = f"{spec.variant_name} seed {spec.seed}"
        with suppress(UsageError):  # a folder that cannot be read back is not worth a run
            self._feeds[run_id] = Feed(path)

    def launching(self, tick: Tick) -> None:
        waiting = len(tick.state.waiting) if isinstance(tick.state, Launching) else 0
        started = sum(status.state is ReplicaState.STARTING for status in tick.statuses)
        self._status = f"launching: {waiting} tasks not ready, {started} building" if waiting else "launching: ready"
        self._refresh("launching", self._status)

    def training(self, tick: Tick) -> None:
        if isinstance(tick.state, Training):
            self._current = tick.state.run_id
        for news in (news for status in tick.statuses for news in status.news):
            match news:
                case Evaluation() if self._verbose:
                    self._print(f"{self._labels.get(news.stamp.run_id, '')}: {_evaluated(news)}")
                case CheckpointFailed():
                    self._print(f"{self._labels.get(news.run_id, '')}: {news.problem}")
        self._refresh(self._current or "", "")

    def recovering(self, run_id: str, text: str) -> None:
        """A failure that the run goes on after, in one line."""
        self._print(f"{self._labels.get(run_id, run_id)}: {text}")

    def run_ended(self, result: RunResult) -> None:
        feed = self._feeds.pop(result.run_id, None)
        if feed is not None:
            feed.close()
        self._print(f"{result.variant_name} seed {result.seed}: {outcome(result)}")
        for finding in result.stability.findings:
            if self._verbose or finding.action != "warned":
                self._print(f"  {finding.kind} at step {finding.step}: {finding.symptom} ({finding.action})")

    def _refresh(self, topic: str, line: str) -> None:
        """A new picture every two seconds; without a terminal a line every ten, and when the topic is a new one."""
        now = time.monotonic()
        if self._quiet:
            return
        if self._live is None:
            if topic != self._topic or now - self._said > PLAIN_SECONDS:
                self._topic, self._said = topic, now
                board = self._look()
                self._print(line or (summary(board) if board else topic))
        elif now - self._looked >= REFRESH_SECONDS:
            self._looked = now
            self._look()
            self._live.refresh()

    def _look(self) -> Board | None:
        feed = self._feeds.get(self._current or "")
        with suppress(sqlite3.Error, OSError):  # of a full disk, which must not end the run
            return feed.update() if feed else None
        return feed.board if feed else None

    def _say(self, text: str) -> None:
        if not self._quiet:
            self._print(text)

    def _print(self, text: str) -> None:
        if not self._quiet:
            self._console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


class _Picture:
    """Drawn anew at each refresh, for the terminal's size then."""

    def __init__(self, view: LiveView) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        board = self._view.board
        if board is None:
            yield Text(self._view.status, style="cyan")
        else:
            # One line less than there are: the cursor's own would scroll the first one away.
            yield draw(board, options.max_width, options.height or console.height - 1, plain=options.ascii_only)


def summary(board: Board) -> str:
    """One line on a run that is on."""
    parts = [f"{board.variant} seed {board.seed}: {board.step * board.global_batch:,} samples"]
    if board.progress is not None:
        parts[0] += f" ({board.progress:.0%})"
    rate, eta = board.samples.per_second, board.eta_seconds
    parts += [f"{rate:,.0f}/s"] if rate else []
    parts += [f"loss {board.loss.last:.4g}"] if board.loss.last is not None else []
    parts += [f"{name} {value:.4f}" for name, value in list(board.evaluation.items())[:2] if name != "val_loss"]
    parts += [f"ETA {duration(eta)}"] if eta else []
    parts += [f"{len(board.findings)} findings, last: {board.findings[-1].symptom}"] if board.findings else []
    return "  ".join(parts)


def _evaluated(evaluation: Evaluation) -> str:
    stamp = evaluation.stamp
    chosen = [(n, v) for n, v in evaluation.metrics.items() if n != "val_loss"] or list(evaluation.metrics.items())
    metrics = "  ".join(f"{name} {value:.4f}" for name, value in chosen[:2])
    return f"step {stamp.step:,}, {stamp.clock:.2f} s: {metrics}"
