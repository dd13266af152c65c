"""Measures modes over slow links: `python -m benchmarks.slow_links`, as root, on Linux.

Three Ray nodes run in network namespaces, each with the resources for one worker; `tc tbf` limits what each sends.
There is one comparison per model and rate, of two workers on different hosts, with the same number of samples. Prints
and saves a table of medians over the seeds, with TOST's p-value of "the final accuracy differs from the first mode's by
half a point or more". The hosts share this machine's cores: compare a row with other rows, not with a cluster of real
machines.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.machine import describe
from orchestrator.verdict.statistics import equivalence
from tests.integration.hosts import Host, Switch, missing
from tests.integration.ray_nodes import Head, Node, cluster_of, private_folders, regatta_on

RATES: Mapping[str, float | None] = {"unlimited": None, "1 Gbit/s": 1000, "100 Mbit/s": 100}
WEIGHT_BYTES = 4


@dataclass(frozen=True)
class Model:
    """The digits model with `hidden` units, and the training samples of a run."""

    hidden: int
    samples: int

    @property
    def megabytes(self) -> float:
        return (64 * self.hidden + self.hidden + 10 * self.hidden + 10) * WEIGHT_BYTES / 1e6


MODELS = (Model(128, 64_000), Model(13_333, 16_384))
"""Weights of 0.04 and 4 MB."""
MARGIN = 0.005


@dataclass(frozen=True)
class Row:
    """Medians over the seeds of one mode of one comparison."""

    megabytes: float
    """Size of the weights; a step's gradients are as large."""
    link: str
    mode: str
    samples_per_s: float
    seconds: float
    """Duration on the training clock."""
    equal_p: float | None
    """TOST's p-value of "final accuracies differ from the first mode's by `MARGIN` or more"."""
    sent_megabytes: float
    """Sent by all hosts in the whole comparison, including launch and snapshots; the same number for all modes."""


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[Sequence[Host], Head]]:
    with ExitStack() as stack:
        switch = stack.enter_context(Switch())
        names = ("host1", "host2", "host3")
        hosts = [stack.enter_context(switch.host(name, hidden=private_folders())) for name in names]
        yield hosts, stack.enter_context(cluster_of(hosts, [Node(cpus=4)] * 3, folder))


def measure(
    hosts: Sequence[Host], head: Head, folder: Path, model: Model, link: str, seeds: int, modes: str
) -> list[Row]:
    for host in hosts:
        host.limit(RATES[link])
    before = sum(host.received() for host in hosts)
    done = regatta_on(
        hosts[0], "compare", "digits", "--modes", modes, "--address", head.gcs, "--placement", "one-per-host",
        "--seeds", str(seeds), "--set", f"hidden={model.hidden}",
        "--samples", str(model.samples), "--eval-every", str(model.samples),
        "--target", "none", "--launch-timeout", "300", "--json", "--quiet",
        cwd=folder, env=head.env, timeout=1800,
    )  # fmt: skip
    for host in hosts:
        host.limit(None)
    if done.returncode != 0:
        raise RuntimeError(f"over {link}: {done.stderr}")
    sent = (sum(host.received() for host in hosts) - before) / 1e6
    runs = {name: mode["runs"] for name, mode in json.loads(done.stdout)["modes"].items()}
    baseline = next(iter(runs.values()))
    return [_row(model, link, name, found, baseline, sent) for name, found in runs.items()]


def _row(
    model: Model,
    link: str,
    mode: str,
    runs: Sequence[Mapping[str, Any]],
    baseline: Sequence[Mapping[str, Any]],
    sent: float,
) -> Row:
    accuracy, base_accuracy = ([run["final"]["val_accuracy"] for run in found] for found in (runs, baseline))
    return Row(
        round(model.megabytes, 2),
        link,
        mode,
        statistics.median(run["throughput"]["samples_per_s"] for run in runs),
        statistics.median(run["seconds"]["training"] for run in runs),
        equivalence(accuracy, base_accuracy, MARGIN),
        round(sent, 1),
    )


def markdown(rows: Sequence[Row]) -> str:
    """Table of each mode's throughput, relative to its own over the unlimited link and to the first mode's."""
    found = {(row.megabytes, row.link, row.mode): row for row in rows}
    first, unlimited = rows[0].mode, next(iter(RATES))
    lines = [
        f"| weights | link | mode | samples/s | of unlimited | over {first} | equal accuracy |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        alone = found.get((row.megabytes, unlimited, row.mode))
        share = "-" if alone is None else f"{row.samples_per_s / alone.samples_per_s:.2f}"
        over = row.samples_per_s / found[row.megabytes, row.link, first].samples_per_s
        equal = "-" if row.mode == first or row.equal_p is None else f"p = {row.equal_p:.3f}"
        speed = f"{row.samples_per_s:,.0f} | {share} | {over:.2f}"
        lines.append(f"| {row.megabytes:g} MB | {row.link} | {row.mode} | {speed} | {equal} |")
    return "\n".join(lines)


def main(
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    modes: Annotated[str, typer.Option(help="Modes to compare; the first is the baseline.")] = "sync,async,local:16",
    links: Annotated[str, typer.Option(help=f"Links, from {', '.join(RATES)}.")] = ",".join(RATES),
    hidden: Annotated[int | None, typer.Option(help="Only the model with so many hidden units.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for slow_links.json and slow_links.md.")] = Path("benchmarks-out"),
) -> None:
    """Measure, print and save the table."""
    if why := missing():
        raise SystemExit(f"cannot create hosts here: {why}")
    rows: list[Row] = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="regatta-links-") as folder, cluster(Path(folder)) as (hosts, head):
        for model in [model for model in MODELS if hidden in (None, model.hidden)]:
            for link in links.split(","):
                rows += measure(hosts, head, Path(folder), model, link, seeds, modes)
                _say(f"{time.monotonic() - started:.0f} s: {model.megabytes:.2f} MB over {link}")
    out.mkdir(parents=True, exist_ok=True)
    document = {"machine": describe(), "seeds": seeds, "rows": [asdict(row) for row in rows]}
    (out / "slow_links.json").write_text(json.dumps(document, indent=2) + "\n")
    (out / "slow_links.md").write_text(markdown(rows) + "\n")
    typer.echo(markdown(rows))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(main)
