"""A comparison or a run, printed at a terminal of 80 columns or more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator import text
from orchestrator.report.recovery import UNDER_WAY
from orchestrator.report.spending import spending_table, spending_text
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


def run_facts(result: RunResult) -> list[tuple[str, str]]:
    """Names and values of everything that the run measured, or should have measured."""
    of_variant = f"{result.variant}: " if result.variant not in (None, result.mode) else ""
    tasks = ", ".join(f"{count} {kind}" for kind, count in result.tasks.items())
    ended = result.status + (f" ({result.stop_reason})" if result.stop_reason else "")
    ended = "not yet" if result.stop_reason == UNDER_WAY else ended
    clock, rate, stale = result.seconds, result.throughput, result.staleness
    passes = (
        f" ({result.samples / result.samples_per_epoch:.3g} epochs)"
        if result.samples_per_epoch and result.samples
        else ""
    )
    trained = f"{_count(result.steps)} steps, {_count(result.samples)} samples{passes} in {text.seconds(clock.spent)}"
    before = f"launch {text.seconds(clock.launch)}, first step after {text.seconds(clock.to_first_step)}"
    facts = [
        ("job", result.job),
        ("mode", f"{of_variant}{result.mode}, seed {result.seed}, {tasks}"),
        ("ended", ended),
        ("trained", trained),
        ("time", spending_text(result)),
        ("speed", f"{text.number(rate.samples_per_s)} samples/s, {text.number(rate.steps_per_s)} steps/s"),
        ("before training", before),
    ]
    if result.shares is not None:
        of_workers = ", ".join(f"worker:{index} {share}" for index, share in enumerate(result.shares))
        facts.append(("shares", f"{of_workers} of the {sum(result.shares)} samples of a step"))
    if result.target is not None:
        facts.append(("target", target_text(result)))
    facts.append(("final", ", ".join(f"{name} {text.number(value)}" for name, value in result.final.items()) or "-"))
    if stale is not None:
        spread = f"mean {stale.mean:.2f}, median {stale.p50:g}, 95 % under {stale.p95:g}, most {stale.max:g}"
        facts.append(("staleness", f"{spread} updates"))
    if result.dropped_gradients and result.steps:
        wasted = result.dropped_gradients / result.steps
        told = f"{text.plural(result.dropped_gradients, 'gradient')} in no update: {100 * wasted:.1f} % of the samples"
        facts.append(("dropped", told))
    if result.stability.jitter is not None:
        facts.append(("jitter", f"{100 * result.stability.jitter:.1f} % of the loss"))
    if (noise := result.stability.gradient_noise) is not None:
        of = f"(over {noise.steps:,} steps): smaller batches are mostly noise, larger ones waste samples"
        facts.append(("gradient noise", f"a batch of {text.number(noise.batch)} samples {of}"))
    if result.cost is not None:
        facts.append(("cost", text.dollars(result.cost)))
    facts += [("cpu", _use(result)), ("gpu", _gpu(result))]
    facts += [(found.kind, f"{found.symptom} {found.evidence}".strip()) for found in result.stability.findings]
    facts += [("failure", f"{f.task}, attempt {f.attempt}: {f.summary}") for f in result.failures]
    return facts


def target_text(result: RunResult) -> str:
    target = result.target
    if target is None:
        return text.MISSING
    goal = f"{target.metric} {target.op} {target.value:g}"
    if not target.reached:
        return f"{goal} not reached"
    reached = f"{goal} reached in {text.seconds(target.seconds)}, {_count(target.samples)} samples"
    if not target.further_samples:
        return reached
    return f"{reached}; trained on for {text.seconds(target.further_seconds)}, {target.further_samples:,} samples"


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
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0 if console.width < _WIDE else 1), show_edge=False)
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


def _count(value: int | None) -> str:
    return text.MISSING if value is None else f"{value:,}"


def _use(result: RunResult) -> str:
    """`worker:0 87 %, 0.6 GiB; ...`."""
    used = result.utilization
    parts = []
    for task, percent in used.cpu_percent.items():
        share = "not measured" if percent is None else f"{percent:.0f} %"
        parts.append(f"{task} {share} {text.gibibytes(used.rss_bytes.get(task))}".replace(" -", ""))
    return "; ".join(parts) or "not measured"


def _gpu(result: RunResult) -> str:
    used = result.utilization
    if used.gpu_percent:
        known = {task: value for task, value in used.gpu_percent.items() if value is not None}
        return "; ".join(f"{task} {value:.0f} %" for task, value in known.items()) or "not measured"
    return text.unavailable([used.gpu_note])
