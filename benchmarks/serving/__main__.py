"""`python -m benchmarks.serving race | soak`: measures `regatta serve`, and prints a table."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.machine import describe, load
from benchmarks.serving import server
from benchmarks.serving.client import Outcome, Questions, closed_loop
from benchmarks.serving.models import KINDS
from benchmarks.serving.soak import soaked

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Kind = Annotated[str, typer.Option(help=f"The model: {', '.join(KINDS)}.")]
CLIENTS = 32
_WARM_SECONDS = 2.0


@app.command()
def race(
    kind: Kind = "dense",
    repetitions: Annotated[int, typer.Option(min=1, help="Turns of each server.")] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds of each turn.")] = 8.0,
    replicas: Annotated[int, typer.Option(min=1, help="Replicas of `regatta serve`.")] = 1,
) -> None:
    """Compare with FastAPI that calls the same SavedModel one request at a time: 32 clients, and one."""
    with tempfile.TemporaryDirectory(prefix="regatta-serving-") as name:
        folder = prepare(Path(name), kind)
        with (
            server.regatta(folder / "served", "--replicas", str(replicas)) as ours,
            server.fastapi(folder / "1") as peer,
        ):
            turns = [
                {who: _turn(folder, one.url, seconds) for who, one in (("regatta", ours), ("fastapi", peer))}
                for _ in range(repetitions)
            ]
        _print_race(turns, json.loads((folder / "alone.json").read_text()))


@app.command()
def soak(
    kind: Kind = "dense",
    minutes: Annotated[float, typer.Option(min=0.2, help="How long.")] = 5.0,
    replicas: Annotated[int, typer.Option(min=1, help="Replicas of `regatta serve`.")] = 2,
) -> None:
    """70 % of the peak, with a version swapped and a replica killed meanwhile; exits with 1 if it is not right."""
    with tempfile.TemporaryDirectory(prefix="regatta-serving-") as name:
        folder = prepare(Path(name), kind)
        report, right = soaked(folder, minutes * 60, replicas)
    print(report)
    _print_machine()
    raise typer.Exit(0 if right else 1)


def prepare(folder: Path, kind: str) -> Path:
    """Write the model's versions; `served` holds the first."""
    subprocess.run([sys.executable, "-P", "-m", "benchmarks.serving.models", str(folder), kind], check=True)
    (folder / "served").mkdir()
    (folder / "served" / "1").symlink_to(folder / "1")
    return folder


def _turn(folder: Path, url: str, seconds: float) -> tuple[Outcome, Outcome]:
    """32 clients, and one."""
    questions = Questions(folder, url.removeprefix("http://"))
    asyncio.run(closed_loop(url, questions, CLIENTS, _WARM_SECONDS))
    many = asyncio.run(closed_loop(url, questions, CLIENTS, seconds))
    return many, asyncio.run(closed_loop(url, questions, 1, seconds / 2))


def _print_race(turns: list[dict[str, tuple[Outcome, Outcome]]], alone: float) -> None:
    print(f"| server | requests/s, {CLIENTS} clients | p50, p99 (ms) | p50 of one client (ms) | failed, wrong |")
    print("| --- | --- | --- | --- | --- |")
    for who in turns[0]:
        many, one = [turn[who][0] for turn in turns], [turn[who][1] for turn in turns]
        rates = ", ".join(f"{outcome.per_second:,.0f}" for outcome in many)
        tails = "; ".join(f"{outcome.percentile(50):.1f}, {outcome.percentile(99):.1f}" for outcome in many)
        single = ", ".join(f"{outcome.percentile(50):.2f}" for outcome in one)
        bad = f"{sum(len(outcome.failed) for outcome in many + one)}, {sum(outcome.wrong for outcome in many + one)}"
        print(f"| {who} | {rates} | {tails} | {single} | {bad} |")
    ratios = [turn["regatta"][0].per_second / turn["fastapi"][0].per_second for turn in turns]
    tails_ratio = [turn["regatta"][0].percentile(99) / turn["fastapi"][0].percentile(99) for turn in turns]
    overhead = statistics.median(turn["regatta"][1].percentile(50) for turn in turns) - alone
    print(f"\nrequests/s, regatta / fastapi, by turn: {_listed(ratios)}; median {statistics.median(ratios):.2f}")
    print(f"p99, regatta / fastapi, by turn: {_listed(tails_ratio)}; median {statistics.median(tails_ratio):.2f}")
    print(f"one client: {overhead:.2f} ms above the bare call of the model, which takes {alone:.2f} ms")
    _print_machine()


def _listed(values: list[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def _print_machine() -> None:
    print(f"{', '.join(f'{name} {value}' for name, value in describe().items())}; load average {load():.1f}")


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.serving")
