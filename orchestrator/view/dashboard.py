"""Draws a board for a terminal of any size. Pure: the same board and size give the same output."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.view.board import Board, Row
from orchestrator.view.plots import LEAST_HEIGHT, MOST_HEIGHT, plots

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

WIDE, NARROW, TALL = 110, 64, 30
"""Terminal widths from which all columns fit, and from which the most important ones do; height with room for more."""
_BLOCKS, _ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.-=+*%#"
_STYLES = {
    "training": "green",
    "serving": "green",
    "failed": "bold red",
    "exited": "red",
    "starting": "yellow",
    "ready": "cyan",
}
_UNITS = ("B", "K", "M", "G", "T", "P")
_FINDINGS, _EVENTS = 3, 4
_TARGET = re.compile(r"([^<>]*)([<>]?=?)(.*)")


def draw(board: Board, width: int, height: int, *, plain: bool = False, first: int = 0) -> RenderableType:
    """Draw the dashboard in at most `height` lines, the tasks from number `first` on. `plain`: in ASCII only."""
    from rich.console import Group
    from rich.text import Text

    findings = _findings(board, width, min(_FINDINGS, max(1, height - 12)), remedies=height >= TALL)
    footer = [*_events(board, width, _EVENTS if height >= TALL else 0), *_footer(board, width)]
    rows = height - 6 - len(findings) - len(footer)  # six: title, progress, loss, column names, two empty
    spare = min(MOST_HEIGHT, rows - len(board.rows) - 1)
    drawn = plots(board, width, spare, plain=plain) if board.loss.last is not None and spare >= LEAST_HEIGHT else []
    table = _table(board, width, max(1, rows - len(drawn) - bool(drawn)), first)
    parts: list[RenderableType] = [_title(board, width), _progress(board, width, plain), _loss(board, width, plain)]
    parts += [Text(""), *(Text(line, style="cyan") for line in drawn)] if drawn else []
    return Group(*parts, Text(""), table, *([Text("")] if findings or footer else []), *findings, *footer)


def _title(board: Board, width: int) -> Text:
    name = f"{board.job}  {board.variant}, seed {board.seed}"
    state = board.outcome or f"{board.phase}  {duration(board.clock)}"
    return _sides(name, state, width, "bold", _style_of(board))


def _style_of(board: Board) -> str:
    styles = {"succeeded": "bold green", "failed": "bold red", "interrupted": "bold red"}
    styles |= dict.fromkeys(("stopped", "preempted"), "bold yellow")
    return styles.get(board.phase, "cyan")


def _progress(board: Board, width: int, plain: bool) -> Text:
    from rich.text import Text

    done = board.progress
    if done is None or board.budget is None:
        waiting = sum(row.state not in ("ready", "training") for row in board.rows.values())
        return _cut(f"{waiting} of {len(board.rows)} tasks not ready yet" if board.rows else "no task yet", width)
    samples, total = board.trained, board.budget
    rate, eta = board.samples.per_second, board.eta_seconds
    parts = [f"{done:4.0%}", f"{samples:,} of {total:,} samples"]
    parts += [f"epoch {samples / board.samples_per_epoch:.1f}"] if board.samples_per_epoch else []
    parts += [f"{rate:,.0f}/s"] if rate else []
    parts += [f"ETA {duration(eta)}"] if eta is not None else []
    text = "  ".join(parts)
    length = max(5, min(60, width - len(text) - 2))
    filled = round(done * length)
    bar = Text(("#" if plain else "━") * filled, style="green")
    bar.append(("." if plain else "─") * (length - filled), style="dim")
    return bar.append("  ").append(_cut(text, max(0, width - length - 2)))


def _loss(board: Board, width: int, plain: bool) -> Text:
    from rich.text import Text

    now = "-" if board.loss.last is None else f"{board.loss.last:.4g}"
    left = f"loss {now}  "
    right = _cut("  ".join(_evaluated(board, 2 if width >= WIDE else 1)), max(0, width - len(left) - 10))
    room = max(8, min(width - len(left) - right.cell_len - 2, 60))
    line = Text(left).append(sparkline(board.loss.columns(room), plain=plain), style="cyan").append("  ").append(right)
    line.truncate(width, overflow="ellipsis")
    return line


def _evaluated(board: Board, count: int) -> list[str]:
    """Metrics of the latest evaluation: the target's metric first, with its bound; the validation loss last."""
    metric, operator, bound = _TARGET.match(board.target or "").groups()  # type: ignore[union-attr]  # matches all
    order = sorted(board.evaluation.items(), key=lambda pair: (pair[0] != metric, pair[0] == "val_loss"))
    shown = [f"{name} {value:.4f}" + (f" ({operator}{bound})" if name == metric else "") for name, value in order]
    return shown[:count] or ([f"target {board.target}"] if board.target else [])


def sparkline(values: Sequence[float], *, plain: bool = False) -> str:
    """Draw one character per value, on a log scale if all are positive; `!` for a value that is not finite."""
    blocks = _ASCII_BLOCKS if plain else _BLOCKS
    known = [value for value in values if math.isfinite(value)]
    scale = math.log if known and min(known) > 0 else float
    low, high = (scale(min(known)), scale(max(known))) if known else (0.0, 0.0)
    text = ""
    for value in values:
        # Halved, because the difference of two floats can overflow.
        share = (scale(value) / 2 - low / 2) / (high / 2 - low / 2) if math.isfinite(value) and high > low else 0.0
        text += blocks[min(len(blocks) - 1, int(share * len(blocks)))] if math.isfinite(value) else "!"
    return text


def _table(board: Board, width: int, rows: int, first: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    wide = width >= WIDE
    names = ["TASK", "STATE", "STEP", "SAMPLES/S", "CPU", "MEM", "GPU", "NET/S"]
    names = [*names, "INPUT WAIT", "GPU MEM", "PID"] if wide else names if width >= NARROW else names[:5]
    table = Table(box=None, padding=(0, 2 if wide else 1), pad_edge=False, show_edge=False)
    for name in names:
        table.add_column(name, justify="left" if name in ("TASK", "STATE") else "right", no_wrap=True)
    tasks = sorted(board.rows, key=_order)
    first = max(0, min(first, len(tasks) - rows + 1)) if len(tasks) > rows else 0
    shown = tasks if len(tasks) <= rows else tasks[first : first + max(0, rows - 1)]
    for task in shown:
        row = board.rows[task]
        cells = [Text(value) for value in _cells(task, row, wide)[: len(names)]]
        cells[1].stylize(_STYLES.get(row.state, ""))
        table.add_row(*cells)
    if len(shown) < len(tasks):
        above = f", {first} of them above" if first else ""
        table.add_row(Text(f"+{len(tasks) - len(shown)} more{above}", style="dim"))
    return table


def _order(task: str) -> tuple[int, int]:
    kind, _, number = task.partition(":")
    kinds = ("chief", "worker", "ps", "evaluator")
    return (kinds.index(kind) if kind in kinds else len(kinds), int(number) if number.isdecimal() else 0)


def _cells(task: str, row: Row, wide: bool) -> list[str]:
    rate = row.samples.per_second
    cells = [
        task,
        row.state,
        "-" if row.step is None else f"{row.step:,}",
        "-" if rate is None else f"{rate:,.0f}",
        _percent(row.cpu_percent),
        size(row.rss_bytes),
        _percent(row.gpu_percent),
        size(row.net_per_s),
    ]
    if wide:
        waiting = None if row.waiting is None else 100 * row.waiting
        cells += [_percent(waiting), size(row.gpu_memory_bytes), "-" if row.pid is None else str(row.pid)]
    return cells


def _findings(board: Board, width: int, count: int, *, remedies: bool) -> list[Text]:
    """The latest `count` findings, newest last, on request with what to do about each."""
    shown = board.findings if len(board.findings) <= count else board.findings[len(board.findings) - count + 1 :]
    lines = [f"  {len(board.findings) - len(shown)} earlier findings"] if len(shown) < len(board.findings) else []
    for found in shown:
        lines.append(f"! {found.kind}: {found.symptom} ({found.action})")
        lines += [f"  try: {found.remedy}"] if remedies and found.remedy else []
    return [_cut(line, width, "yellow") for line in lines]


def _events(board: Board, width: int, count: int) -> list[Text]:
    return [_cut(line, width) for line in list(board.events)[len(board.events) - min(count, len(board.events)) :]]


def _footer(board: Board, width: int) -> list[Text]:
    return [_cut(note, width, "dim") for note in board.notes[:1]]


def _sides(left: str, right: str, width: int, left_style: str, right_style: str) -> Text:
    """Align two texts to the left and right edges; if they do not fit, the left one is cut first."""
    right_text = _cut(right, width, right_style)
    left_text = _cut(left, max(0, width - right_text.cell_len - 2), left_style)
    gap = max(0, width - left_text.cell_len - right_text.cell_len)
    return left_text.append(" " * gap).append(right_text)


def _cut(line: str, width: int, style: str = "") -> Text:
    """Cut a line to `width`, with unprintable characters replaced: users choose the names of metrics."""
    from rich.text import Text

    text = Text("".join(c if c.isprintable() else "?" for c in line), style=style)
    if width < 1:
        return Text()
    text.truncate(width, overflow="ellipsis")
    return text


def duration(seconds: float) -> str:
    """Format seconds as `0:07`, `12:30` or `3:00:00`."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes = f"{rest // 60:02d}" if hours else f"{rest // 60}"
    return f"{hours}:{minutes}:{rest % 60:02d}" if hours else f"{minutes}:{rest % 60:02d}"


def size(count: float | None) -> str:
    """Format bytes, or bytes per second, in at most five characters: `612M`."""
    if count is None:
        return "-"
    for unit in _UNITS:
        if count < 999.5 or unit == _UNITS[-1]:
            return f"{count:.0f}{unit}" if unit == "B" or count >= 9.95 else f"{count:.1f}{unit}"
        count /= 1024
    return "-"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}%"
