"""A comparison or a run, printed at a terminal of 80 columns or more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator import text
from orchestrator.report.facts import run_facts
from orchestrator.report.spending import spending_table
from orchestrator.report.standing import Table, efficiency_text, standings
from orchestrator.results import Comparison, RunResult, Verdict

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_STYLES = {"high": "bold green", "moderate": "bold cyan", "low": "bold yellow", "none": "bold"}
_WIDE = 100
Column = tuple[str, str, str, bool]
_COLUMNS: tuple[Column, ...] = (  # attribute, title, alignment, whether cells may be broken into lines
    ("name", "variant", "left", True),
    ("runs", "runs", "right", False),
    ("reached", "reached\ntarget", "right", False),
    ("time", "median\ntime", "right", False),
    ("speed", "", "right", False),
    ("quality", "", "right", False),
    ("rate", "samples\nper s", "right", False),
    ("staleness", "stale-\nness", "right", False),
    ("cost", "cost", "right", False),
    ("findings", "findings", "left", True),
    ("troubled", "runs w/\nfindings", "right", False),
)
_UPDATES: tuple[Column, ...] = (
    ("name", "variant", "left", True),
    ("per_update", "samples\nper update", "right", False),
    ("updates", "updates", "right", False),
    ("learning_rate", "learning\nrate", "right", False),
)


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the variants, whether distributing is worth it, then the verdict: headline, numbers, reasons, advice."""
    from rich.text import Text

    modes = {name: mode.runs for name, mode in comparison.modes.items()}
    seeds = text.plural(len(comparison.seeds), "seed")
    console.print()
    console.print(
        Text.assemble((text.plain(comparison.job, 200), "bold"), f": {', '.join(map(text.plain, modes))}; {seeds}")
    )
    table = standings(modes, comparison)
    _print_table(table, _COLUMNS, console)
    if table.race.kind == "target":
        console.print(
            Text(f"Times are to {text.plain(table.race.goal)}, with everything that a run spends.", style="dim")
        )
    _print_table(table, _UPDATES, console)
    _print_spending(modes, console)
    _print_verdict(comparison.verdict, console)


def print_run(result: RunResult, console: Console) -> None:
    """Print the facts of a run, one per line."""
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in run_facts(result):
        grid.add_row(Text(text.plain(name)), Text(text.plain(value)))
    console.print()
    console.print(Text(text.plain(result.run_id), style="bold"))
    console.print(grid)


def _print_table(table: Table, columns: Sequence[Column], console: Console) -> None:
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    titles = {"speed": f"speed vs\n{text.plain(table.baseline, 16)}", "quality": _two_lines(table)}
    # "3/3" gives the number of runs too. On a narrow terminal the interval of a ratio goes below it.
    narrow = console.width < _WIDE
    dropped = {"findings" if narrow else "troubled", "runs" if table.used("reached") else ""}
    shown = [column for column in columns if column[0] not in dropped and table.used(column[0])]
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0 if narrow else 1), show_edge=False)
    for name, title, side, breaks in shown:
        grid.add_column(
            Text(titles.get(name, title)),
            justify="right" if side == "right" else "left",
            no_wrap=not breaks,
            overflow="fold",
            min_width=min(12, max(len(getattr(line, name)) for line in table.lines)) if breaks else None,
        )
    for line in table.lines:
        style = "bold" if line.name == table.baseline else ""
        cells = {name: getattr(line, name) for name, *_ in shown}
        if narrow and "speed" in cells:
            cells["speed"] = cells["speed"].replace(" [", "\n[")
        grid.add_row(*(Text(cell, style=style if name == "name" else "") for name, cell in cells.items()))
    console.print()
    console.print(grid)


def _print_spending(modes: Mapping[str, Sequence[RunResult]], console: Console) -> None:
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    head, rows = spending_table(modes, short=True)
    if not rows:
        return
    gap = 0 if console.width < _WIDE else 1
    if sum(max(map(len, column)) + 1 + gap for column in zip(head, *rows, strict=True)) > console.width:
        head, *rows = map(list, zip(head, *rows, strict=True))  # a line for each part
        head[0] = "part"
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, gap), show_edge=False)
    for index, title in enumerate(head):
        grid.add_column(Text(title), justify="right" if index else "left", overflow="fold")
    for row in rows:
        grid.add_row(*map(Text, row))
    console.print()
    console.print(Text("Where the time went", style="bold"))
    console.print(grid)


def _two_lines(table: Table) -> str:
    metric = text.plain(table.quality.metric, 24) if table.quality else "metric"
    return f"final\n{metric}"


def _print_verdict(verdict: Verdict, console: Console) -> None:
    from rich.text import Text

    console.print()
    if verdict.distributing is not None:
        console.print(Text.assemble(("Worth distributing? ", "bold"), text.plain(verdict.distributing.answer)))
        if efficiency := efficiency_text(verdict.distributing):
            console.print(_text(efficiency, "dim"))
    console.print(
        Text.assemble(
            ("Verdict: ", "bold"),
            (text.plain(verdict.headline), _STYLES[verdict.confidence]),
            (f"  (confidence: {verdict.confidence})", "dim"),
        )
    )
    if verdict.numbers:
        console.print(_text(verdict.numbers))
    _print_list("Mind", verdict.caveats, console)
    _print_list("Why", verdict.reasons, console)
    _print_list("Next", verdict.next_steps, console)


def _print_list(title: str, items: Sequence[str], console: Console) -> None:
    from rich.table import Table as Grid

    if not items:
        return
    grid = Grid.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for item in items:
        grid.add_row("-", _text(item))
    console.print()
    console.print(_text(title, "bold"))
    console.print(grid)


def _text(value: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(text.plain(value), style=style)
