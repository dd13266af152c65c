"""Measures sync and async over slow links: `python -m benchmarks.slow_links`, as root, on Linux.

Three Ray nodes run in network namespaces, each with the resources for one worker; `tc tbf` limits what each sends.
There is one comparison per model and rate, of two workers on different hosts, with the same number of samples. Prints
and saves a table of medians over the seeds. The hosts share this machine's cores: compare a row with other rows, not
with a cluster of real machines.
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


MODELS = (Model(128, 64_000), Model(8192, 4_800))


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
    sent_megabytes: float
    """Sent by all hosts in the whole comparison, including launch and snapshots; the same number for both modes."""


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[Sequence[Host], Head]]:
    with ExitStack() as stack:
        switch = stack.enter_context(Switch())
        names = ("host1", "host2", "host3")
        hosts = [stack.enter_context(switch.host(name, hidden=private_folders())) for name in names]
        yield hosts, stack.enter_context(cluster_of(hosts, [Node(cpus=4)] * 3, folder))


def measure(hosts: Sequence[Host], head: Head, folder: Path, model: Model, link: str, seeds: int) -> list[Row]:
    for host in hosts:
        host.limit(RATES[link])
    before = sum(host.received() for host in hosts)
    done = regatta_on(
        hosts[0], "compare", "digits", "--address", head.gcs, "--placement", "one-per-host", "--seeds", str(seeds),
        "--set", f"hidden={model.hidden}", "--samples", str(model.samples), "--eval-every", str(model.samples),
        "--target", "val_accuracy>=2", "--launch-timeout", "300", "--json", "--quiet",
        cwd=folder, env=head.env, timeout=900,
    )  # fmt: skip
    for host in hosts:
        host.limit(None)
    if done.returncode != 0:
        raise RuntimeError(f"over {link}: {done.stderr}")
    sent = (sum(host.received() for host in hosts) - before) / 1e6
    modes = json.loads(done.stdout)["modes"]
    return [_row(model, link, name, mode["runs"], sent) for name, mode in modes.items()]


def _row(model: Model, link: str, mode: str, runs: Sequence[Mapping[str, Any]], sent: float) -> Row:
    return Row(
        round(model.megabytes, 2),
        link,
        mode,
        statistics.median(run["throughput"]["samples_per_s"] for run in runs),
        statistics.median(run["seconds"]["training"] for run in runs),
        round(sent, 1),
    )


def markdown(rows: Sequence[Row]) -> str:
    """Table of both modes' throughput, and its share of the throughput over the unlimited link."""
    found = {(row.megabytes, row.link, row.mode): row for row in rows}
    lines = [
        "| weights | link | sync, samples/s | of unlimited | async, samples/s | of unlimited | async over sync |",
        "|---|---|---|---|---|---|---|",
    ]
    for size, link in dict.fromkeys((row.megabytes, row.link) for row in rows):
        sync, async_ = (found[size, link, mode].samples_per_s for mode in ("sync", "async"))
        first = [found[size, next(iter(RATES)), mode].samples_per_s for mode in ("sync", "async")]
        lines.append(
            f"| {size:g} MB | {link} | {sync:,.0f} | {sync / first[0]:.2f} | {async_:,.0f} | {async_ / first[1]:.2f} "
            f"| {async_ / sync:.2f} |"
        )
    return "\n".join(lines)


def main(
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    out: Annotated[Path, typer.Option(help="Folder for slow_links.json and slow_links.md.")] = Path("benchmarks-out"),
) -> None:
    """Measure, print and save the table."""
    if why := missing():
        raise SystemExit(f"cannot create hosts here: {why}")
    rows: list[Row] = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="regatta-links-") as folder, cluster(Path(folder)) as (hosts, head):
        for model in MODELS:
            for link in RATES:
                rows += measure(hosts, head, Path(folder), model, link, seeds)
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
