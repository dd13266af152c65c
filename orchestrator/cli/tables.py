"""Tables for the terminal: a plan, and rows of the jobs, the runs and the doctor's checks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def print_rows(rows: Sequence[Sequence[str]], console: Console) -> None:
    """Print columns without a frame. Markup in cells is not interpreted; piped output is not wrapped."""
    from rich.table import Table
    from rich.text import Text

    if not console.is_terminal:
        widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
        indent = "\n" + " " * sum(width + 2 for width in widths[:-1])
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
            line = "  ".join(cells).rstrip().replace("\n", indent)
            console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)
        return
    table = Table.grid(padding=(0, 2))
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def print_listed(rows: Sequence[Sequence[str]], name: int, console: Console) -> None:
    """Print a table, head first, whose column `name` is never cut.

    On a terminal that is too narrow for it, each row has two lines, the first of which is the name.
    """
    fits = sum(max(map(len, column)) + 2 for column in zip_longest(*rows, fillvalue="")) - 2 <= console.width
    if fits or not console.is_terminal or len(rows) < 2:
        print_rows(rows, console)
        return
    for row in rows[1:]:
        others = (cell for place, cell in enumerate(row) if cell and place != name)
        text = f"{row[name]}\n  {'  '.join(others)}"
        console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_plan(plan: dict[str, Any], console: Console) -> None:
    """Print the tasks of a plan with their resources, hosts and TF_CONFIG, then its budget."""
    names = [f"{task['type']}:{task['index']}" for task in plan["tasks"]]
    uses = [task["resources"] for task in plan["tasks"]]
    rows: list[tuple[str, ...]]
    rows = [(name, f"{use['cpu']:g}", f"{use['gpu']:g}") for name, use in zip(names, uses, strict=True)]
    hosts = [task["host"] for task in plan["tasks"]]
    if all(hosts):
        rows = [(*row, f"{host['name']} ({host['address']})") for row, host in zip(rows, hosts, strict=True)]
    print_rows([("TASK", "CPU", "GPU", "HOST")[: len(rows[0])], *rows], console)
    configs = [(name, task["tf_config"]) for name, task in zip(names, plan["tasks"], strict=True)]
    if stages := plan.get("stages", ()):  # their tasks are among those above, and see each other only
        configs = [(f"{name} in {stage['mode']}", own) for stage in stages for name, own in stage["tf_config"].items()]
        configs.append((names[-1], plan["tasks"][-1]["tf_config"]))
    for name, config in configs:
        text = f"\nTF_CONFIG of {name}\n{json.dumps(config)}"
        console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)
    budget, requires = plan["budget"], plan["requires"]
    if budget["steps"] is None:
        amount = f"{budget['epochs']:g} epochs"
    else:
        parts = stages or [budget | {"mode": None}]
        each = [f"{part['steps']:,} steps of {part['samples_per_step']}" for part in parts]
        named = [
            f"{words} in {part['mode']}" if part["mode"] else words for words, part in zip(each, parts, strict=True)
        ]
        amount = f"{budget['samples']:,} samples = {', then '.join(named)}"
    until = f", or until {budget['target']}" if budget["target"] else ""
    text = (
        f"\nmode {plan['mode']}; budget {amount}{until}"
        f"\nthe cluster needs {requires['cpu']:g} CPUs and {requires['gpu']:g} GPUs free at the same time"
    )
    if waits := plan.get("waits_for"):
        text += f"\nthe run would wait for {', '.join(waits)}, which other jobs use at the moment"
    console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)
