"""`python -m benchmarks peers | quick`: measures, prints and saves the figures of docs/performance.md."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.figures import Session, comparison, footprint, say, speed
from benchmarks.machine import describe
from benchmarks.records import document, judge
from benchmarks.table import markdown

Figure = Callable[[Session], None]

FIGURES: Mapping[str, Figure] = {
    "speed": speed.tiny,
    "compute": speed.compute,
    "input": speed.waiting_input,
    "first-step": speed.first_step,
    "compare": comparison.compare,
    "launch": footprint.launch,
    "driver": footprint.driver,
    "fakes": footprint.fakes,
    "memory": footprint.memory,
}
CLAIMS = (*speed.CLAIMS, *comparison.CLAIMS, *footprint.CLAIMS)
QUICK_SCALE = 0.5

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Out = Annotated[Path, typer.Option(help="Folder for results.json and results.md.")]


@app.command()
def peers(
    repetitions: Annotated[int, typer.Option(min=1, help="Repetitions of every figure; contenders take turns.")] = 3,
    only: Annotated[str, typer.Option(help=f"Figures to measure, from {','.join(FIGURES)}.")] = ",".join(FIGURES),
    scale: Annotated[float, typer.Option(min=0.01, help="Factor for every budget, to test the benchmarks.")] = 1.0,
    out: Out = Path("runs/benchmarks"),
) -> None:
    """Compare Regatta with the alternatives; takes about 35 minutes per repetition on 2 cores."""
    names = [name.strip() for name in only.split(",")]
    if unknown := set(names) - set(FIGURES):
        raise typer.BadParameter(f"no figure {', '.join(sorted(unknown))}; there are {', '.join(FIGURES)}")
    _measure([FIGURES[name] for name in names], Session(repetitions, scale), out)


@app.command()
def quick(out: Out = Path("runs/benchmarks-quick")) -> None:
    """Measure the main ratios in under 3 minutes, to run before and after a change."""
    _measure([speed.tiny_quick], Session(repetitions=2, scale=QUICK_SCALE), out)


def _measure(figures: list[Figure], session: Session, out: Path) -> None:
    """Measure `figures` in turn, and write the results after each, so that an interrupted session keeps them."""
    began = time.strftime("%Y-%m-%d %H:%M")
    machine = describe()
    out.mkdir(parents=True, exist_ok=True)
    text = ""
    for figure in figures:
        say(f"{figure.__module__}.{figure.__name__}")
        figure(session)
        outcomes = judge(session.records, CLAIMS)
        text = markdown(session.records, outcomes, machine, began)
        results = document(session.records, outcomes, machine, began)
        (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        (out / "results.md").write_text(text)
    print(text)
    say(f"saved in {out}")


if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
