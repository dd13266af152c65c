"""`regatta watch`: shows a run that another process trains, or one that has ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import UsageError
from orchestrator.store.directory import COMPARISON, SPEC
from orchestrator.store.metrics import METRICS
from orchestrator.view.board import Board
from orchestrator.view.dashboard import draw
from orchestrator.view.feed import Feed
from orchestrator.view.keys import single_keys
from orchestrator.view.live import PLAIN_SECONDS, summary

if TYPE_CHECKING:
    from rich.console import Console

REFRESH_SECONDS = 1.0
_HELP = """\
  q, Ctrl-C    leave; the run goes on
  j, k         scroll the tasks (arrows too)
  ?            this; any other key leads back

  `regatta watch --web` shows more in a browser, `regatta logs -f` what tasks print."""
READ_RETRIES = 10
"""Retries of reading metrics that cannot be read, because their writer may be creating them."""


def watch(
    path: Path, console: Console, *, once: bool = False, sleep: Callable[[float], None] = time.sleep
) -> list[Board]:
    """Show a run, or the runs of a comparison one after another, until they end; returns the last board of each.

    Raises:
        UsageError: `path` is not the folder of a run or a comparison.
    """
    boards: dict[Path, Board] = {}
    while True:
        run = current_run(path)
        boards[run] = _follow(Feed(run), path, console, once=once, sleep=sleep)
        if once or current_run(path) == run:
            return list(boards.values())


def _follow(feed: Feed, path: Path, console: Console, *, once: bool, sleep: Callable[[float], None]) -> Board:
    """Show one run until it ends or, in a comparison, until the next run trains."""
    board = feed.update()
    for _ in range(1 if once else READ_RETRIES):
        if feed.problem is None:
            break
        sleep(REFRESH_SECONDS)
        board = feed.update()
    if feed.problem is not None:
        raise UsageError(f"{feed.problem}. Ask its owner for a copy, or to make it readable.")
    if once or (board.outcome is not None and _complete(path)):
        _show(board, console)
        return board
    if console.is_terminal:
        try:
            _show_live(feed, path, console, sleep)
        finally:
            _show(feed.board, console)
        return feed.board
    printed_at = -PLAIN_SECONDS
    while not _finished(feed, path):
        if time.monotonic() - printed_at >= PLAIN_SECONDS:
            printed_at = time.monotonic()
            _print_line(feed.board, console)
        sleep(REFRESH_SECONDS)
        feed.update()
    _show(feed.board, console)
    return feed.board


def _show_live(feed: Feed, path: Path, console: Console, sleep: Callable[[float], None]) -> None:
    """Show the dashboard until the run ends; raises KeyboardInterrupt for `q`, as for Ctrl-C."""
    from rich.live import Live

    first, helps = 0, False
    with single_keys(sleep) as keys, Live(console=console, auto_refresh=False, transient=True) as live:
        while not _finished(feed, path):
            height, plain = console.height - 1, console.options.ascii_only
            picture = draw(feed.board, console.width, height, plain=plain, first=first)
            live.update(_HELP if helps else picture, refresh=True)
            key = keys.wait(REFRESH_SECONDS)
            if key == "q":
                raise KeyboardInterrupt
            helps = key == "?" or (helps and key is None)
            first = max(0, first + {"up": -1, "down": 1}.get(key or "", 0))
            if key is None:
                feed.update()


def _finished(feed: Feed, path: Path) -> bool:
    """Whether this run has ended, and either no further run follows or the next one trains already."""
    if feed.board.outcome is None:
        return False
    return _complete(path) or current_run(path) != feed.run


def _complete(path: Path) -> bool:
    """Whether no further run will start in the folder `path`."""
    if (path / SPEC).is_file():
        return True
    return (path / COMPARISON).is_file() or Feed(current_run(path)).driver_is_gone()


def _show(board: Board, console: Console) -> None:
    """Print the final state, which stays on the screen."""
    height = max(12, console.height - 1) if console.is_terminal else 10 + len(board.rows) + len(board.findings)
    console.print(draw(board, console.width, height, plain=console.options.ascii_only))


def _print_line(board: Board, console: Console) -> None:
    console.print(summary(board) if board.step else f"{board.phase}: {board.run_id}", markup=False, highlight=False)


def current_run(path: Path) -> Path:
    """`path` if it is a run's folder; in a comparison, the run that was written to last.

    Raises:
        UsageError: `path` is not the folder of a run or a comparison.
    """
    if (path / SPEC).is_file():
        return path
    runs = [spec.parent for folder in ("runs", "tuning") for spec in path.glob(f"{folder}/*/{SPEC}")]
    if not runs:
        raise UsageError(f"{path} is not the folder of a run or a comparison: there is no {SPEC} in it or below.")
    return max(runs, key=_written)


def _written(run: Path) -> float:
    """Time of the last write to a run's metrics, whose write-ahead log grows first; 0 before there are any."""
    files = [run / METRICS, run / f"{METRICS}-wal"]
    return max((file.stat().st_mtime for file in files if file.is_file()), default=0.0)
