"""`regatta watch`: looks at a run that another process trains, or that is over."""

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
from orchestrator.view.live import PLAIN_SECONDS, summary

if TYPE_CHECKING:
    from rich.console import Console

REFRESH_SECONDS = 1.0
LOOKS = 10
"""Looks at metrics that cannot be read: their writer may be creating them."""


def watch(
    path: Path, console: Console, *, once: bool = False, sleep: Callable[[float], None] = time.sleep
) -> list[Board]:
    """Show the run, or the runs of a comparison one after another, until they are over; returns the last boards.

    Raises:
        UsageError: `path` is the folder of neither.
    """
    boards: dict[Path, Board] = {}
    while True:
        run = current_run(path)
        feed = Feed(run)
        try:
            boards[run] = _follow(feed, path, console, once=once, sleep=sleep)
        finally:
            feed.close()
        if once or current_run(path) == run:
            return list(boards.values())


def _follow(feed: Feed, path: Path, console: Console, *, once: bool, sleep: Callable[[float], None]) -> Board:
    """One run to its end, or until another run of the comparison trains."""
    board = feed.update()
    for _ in range(1 if once else LOOKS):
        if feed.problem is None:
            break
        sleep(REFRESH_SECONDS)
        board = feed.update()
    if feed.problem is not None:
        raise UsageError(f"{feed.problem}. Ask its owner for a copy, or to make it readable.")
    if once or (board.outcome is not None and _over(path)):
        _show(board, console)
        return board
    if console.is_terminal:
        from rich.live import Live

        with Live(console=console, auto_refresh=False, transient=True) as live:
            while not _left(feed, path):
                height = console.height - 1
                picture = draw(feed.board, console.width, height, plain=console.options.ascii_only)
                live.update(picture, refresh=True)
                sleep(REFRESH_SECONDS)
                feed.update()
    else:
        said = -PLAIN_SECONDS
        while not _left(feed, path):
            if time.monotonic() - said >= PLAIN_SECONDS:
                said = time.monotonic()
                _say(feed.board, console)
            sleep(REFRESH_SECONDS)
            feed.update()
    _show(feed.board, console)
    return feed.board


def _left(feed: Feed, path: Path) -> bool:
    """Whether there is nothing more to see here: this run is over, and so is all, or another one trains."""
    if feed.board.outcome is None:
        return False
    return _over(path) or current_run(path) != feed.run


def _over(path: Path) -> bool:
    """Whether no further run will begin below `path`."""
    if (path / SPEC).is_file():
        return True
    feed = Feed(current_run(path))
    try:
        return (path / COMPARISON).is_file() or feed.driver_is_gone()
    finally:
        feed.close()


def _show(board: Board, console: Console) -> None:
    """The last picture, to stay."""
    height = max(12, console.height - 1) if console.is_terminal else 10 + len(board.rows) + len(board.findings)
    console.print(draw(board, console.width, height, plain=console.options.ascii_only))


def _say(board: Board, console: Console) -> None:
    console.print(summary(board) if board.step else f"{board.phase}: {board.run_id}", markup=False, highlight=False)


def current_run(path: Path) -> Path:
    """`path` itself if it is a run's folder; of a comparison, the run that was written to last.

    Raises:
        UsageError: it is neither.
    """
    if (path / SPEC).is_file():
        return path
    runs = [spec.parent for folder in ("runs", "tuning") for spec in path.glob(f"{folder}/*/{SPEC}")]
    if not runs:
        raise UsageError(f"{path} is not the folder of a run or a comparison: there is no {SPEC} in it or below.")
    return max(runs, key=_written)


def _written(run: Path) -> float:
    """When its metrics grew last. The write-ahead log grows first; launching does not count as a run's turn."""
    files = [run / METRICS, run / f"{METRICS}-wal"]
    return max((file.stat().st_mtime for file in files if file.is_file()), default=0.0)
