"""Shows runs while they train: as a dashboard in a terminal, otherwise as plain lines."""

from __future__ import annotations

import re
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
from orchestrator.text import plain, plural
from orchestrator.view.board import Board
from orchestrator.view.dashboard import draw, duration
from orchestrator.view.feed import Feed
from orchestrator.view.outcome import outcome
from orchestrator.view.own_lines import OwnLines
from workers.messages import Printed, Task
from workers.news import CheckpointFailed, Evaluation, LegStarted

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live
    from rich.progress import Progress

_MARKS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|\x08|[^\n]*\r(?!\n)")
"""Colours, and what a progress bar overwrites."""
_LONGEST_LINE = 500
PLAIN_SECONDS = 10.0
REFRESH_SECONDS = 2.0
"""Drawing the dashboard takes 6 to 9 ms of processor time, which training lacks."""


class LiveView(AbstractContextManager["LiveView"]):
    """A `Watcher` that shows runs on a console."""

    def __init__(
        self, console: Console, *, quiet: bool = False, verbose: bool = False, output: Console | None = None
    ) -> None:
        """`output` gets what the leader's script prints."""
        self._console = console
        self._output = output
        self._quiet = quiet
        self._verbose = verbose
        self._live: Live | None = None
        self._spinner: Progress | None = None
        """Shows on a terminal, until training begins, what is awaited and for how long."""
        self._status = "starting"
        self._feeds: dict[str, Feed] = {}
        self._labels: dict[str, str] = {}
        self._current: str | None = None
        """Id of the run that trains."""
        self._drawn_at = self._printed_at = 0.0
        self._topic = ""
        self._since = 0.0
        self._leader: tuple[Task, OwnLines] | None = None
        """The task whose own lines are shown, if any are; a script's come as news."""

    def __enter__(self) -> LiveView:
        if self._console.is_terminal and not self._quiet:
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
            self._spinner = Progress(*columns, console=self._console, transient=True, refresh_per_second=4)
            self._spinner.add_task(self._status)
            self._spinner.start()
        else:
            self._print(self._status)
        return self

    def __exit__(self, *_: object) -> None:
        for shown in (self._spinner, self._live):
            if shown is not None:
                shown.stop()

    def _begin_dashboard(self, spinner: Progress) -> None:
        from rich.live import Live

        spinner.stop()
        self._spinner = None
        self._live = Live(_Screen(self), console=self._console, auto_refresh=False, transient=True)
        self._live.start(refresh=True)

    @property
    def board(self) -> Board | None:
        """The board of the run that trains."""
        feed = self._feeds.get(self._current or "")
        return feed.board if feed else None

    @property
    def status(self) -> str:
        """One line on the progress of the launch, for when no run trains."""
        return self._status

    def run_begins(self, spec: RunSpec, run_id: str, path: Path) -> None:
        self._labels[run_id] = f"{spec.variant_name} seed {spec.seed}"
        self._leader = (spec.stages[0].traits.leader, OwnLines()) if self._verbose else None
        with suppress(UsageError):  # an unreadable folder must not end the run
            self._feeds[run_id] = Feed(path)

    def launching(self, tick: Tick) -> None:
        waiting = len(tick.state.waiting) if isinstance(tick.state, Launching) else 0
        total = max(waiting, len(tick.statuses))
        self._status = f"starting tasks: {total - waiting} of {total} ready"
        self._show_output(tick)
        if self._spinner is not None:
            self._spinner.update(self._spinner.task_ids[0], description=self._status)
        else:
            self._refresh("launching", self._status)

    def training(self, tick: Tick) -> None:
        if self._spinner is not None:
            self._begin_dashboard(self._spinner)
        if isinstance(tick.state, Training):
            self._current = tick.state.run_id
        for task, news in ((status.task, news) for status in tick.statuses for news in status.news):
            match news:
                case LegStarted() if self._leader is not None and self._leader[0] != task:
                    self._leader = (task, OwnLines())  # of the mode that the run has changed to
                case Evaluation() if self._verbose:
                    self._print(f"{self._labels.get(news.stamp.run_id, '')}: {_evaluated(news)}")
                case CheckpointFailed():
                    self._print(f"{self._labels.get(news.run_id, '')}: {news.problem}")
        self._show_output(tick)
        self._refresh(self._current or "", "")

    def _show_output(self, tick: Tick) -> None:
        """Print what the leader's code has printed; above the dashboard, if both are on the terminal."""
        printed = [news for status in tick.statuses for news in status.news if isinstance(news, Printed)]
        if printed:
            self._leader = None
        for status in tick.statuses:
            if self._leader is not None and status.task == self._leader[0] and status.log:
                for line in self._leader[1].read(status.log):
                    self._print(plain(line, _LONGEST_LINE))
        if self._output is None:
            return
        for news in printed:
            drawn = self._spinner or self._live
            console = self._console if drawn and self._output.is_terminal else self._output
            text = _MARKS.sub("", news.text)
            console.print(text, end="", markup=False, emoji=False, highlight=False, soft_wrap=True)

    def recovering(self, run_id: str, text: str) -> None:
        """Print one line on a failure from which the run recovers."""
        self._print(f"{self._labels.get(run_id, run_id)}: {text}")

    def run_ended(self, result: RunResult) -> None:
        self._feeds.pop(result.run_id, None)
        self._print(f"{result.variant_name} seed {result.seed}: {outcome(_without_message(result))}")
        for finding in result.stability.findings:
            if self._verbose or finding.action != "warned":
                self._print(f"  {finding.kind} at step {finding.step}: {finding.symptom} ({finding.action})")

    def _refresh(self, topic: str, line: str) -> None:
        """Redraw every two seconds; without a terminal, print a line every ten, and whenever the topic changes."""
        now = time.monotonic()
        if self._quiet:
            return
        if self._live is None:
            if topic != self._topic or now - self._printed_at > PLAIN_SECONDS:
                if topic != self._topic:
                    self._topic, self._since = topic, now
                self._printed_at = now
                board = self._update()
                waited = f", for {now - self._since:.0f} s" if now - self._since > PLAIN_SECONDS else ""
                self._print(f"{line}{waited}" if line else summary(board) if board else topic)
        elif now - self._drawn_at >= REFRESH_SECONDS:
            self._drawn_at = now
            self._update()
            self._live.refresh()

    def _update(self) -> Board | None:
        feed = self._feeds.get(self._current or "")
        with suppress(sqlite3.Error, OSError):  # of a full disk, which must not end the run
            return feed.update() if feed else None
        return feed.board if feed else None

    def _print(self, text: str) -> None:
        if not self._quiet:
            self._console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


def _without_message(result: RunResult) -> RunResult:
    """`result` with the kind of its failure only: the command ends with the whole of it."""
    if result.status != "failed" or result.stop_reason is None:
        return result
    return result.model_copy(update={"stop_reason": result.stop_reason.partition(": ")[0]})


class _Screen:
    """Draws the board at each refresh, for the terminal's current size."""

    def __init__(self, view: LiveView) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        board = self._view.board
        if board is None:
            yield Text(self._view.status, style="cyan")
        else:
            # One line less than the terminal has: on the last one the cursor would scroll the first one away.
            yield draw(board, options.max_width, options.height or console.height - 1, plain=options.ascii_only)


def summary(board: Board) -> str:
    """Describe a run that trains, in one line."""
    parts = [f"{board.variant} seed {board.seed}: {board.trained:,} samples"]
    if board.progress is not None:
        parts[0] += f" ({board.progress:.0%})"
    if board.samples_per_epoch:
        parts.append(f"epoch {board.trained / board.samples_per_epoch:.1f}")
    rate, eta = board.samples.per_second, board.eta_seconds
    parts += [f"{rate:,.0f}/s"] if rate else []
    parts += [f"loss {board.loss.last:.4g}"] if board.loss.last is not None else []
    shown = sorted(board.evaluation.items(), key=lambda item: item[0] != board.metric)[:2]  # the drawn one first
    parts += [f"{name} {value:.4g}" for name, value in shown]
    parts += [f"ETA {duration(eta)}"] if eta else []
    parts += [f"{plural(len(board.findings), 'finding')}, last: {board.findings[-1].symptom}"] if board.findings else []
    return "  ".join(parts)


def _evaluated(evaluation: Evaluation) -> str:
    stamp = evaluation.stamp
    chosen = [(n, v) for n, v in evaluation.metrics.items() if n != "val_loss"] or list(evaluation.metrics.items())
    metrics = "  ".join(f"{name} {value:.4f}" for name, value in chosen[:2])
    return f"step {stamp.step:,}, {stamp.clock:.2f} s: {metrics}"
