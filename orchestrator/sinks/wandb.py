"""Logs runs to Weights & Biases while they train: config, curves against samples, and a summary.

Needs the extra `wandb`. A process of its own (`orchestrator.sinks.wandb_client`), one for all runs of a command,
follows each run's metrics.db; it imports the client while the tasks are launched, so that training waits for nothing.
Whatever is wrong with the client, the login or the network is said once, and training goes on.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from orchestrator.errors import UsageError
from orchestrator.results import Finding, RunResult
from orchestrator.spec.run import RunSpec
from orchestrator.store.directory import COMPARISON_SPEC, SWEEP_SPEC
from workers.news import LegStarted, ReplicaStatus
from workers.session import python_environment

PATIENCE_SECONDS = 60.0
"""How long a finished run may take to arrive; after that the rest of the command's runs are not logged."""
END_SECONDS = 30.0
"""How long the process may take to end by itself."""
_CLIENT = "orchestrator.sinks.wandb_client"


class WandbError(Exception):
    """A run could not be logged. The message says why."""


class _Client:
    """The process that talks to Weights & Biases."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", _CLIENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=python_environment(),
            start_new_session=True,  # Ctrl-C is the driver's
        )
        self._stdin, self._stdout = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)
        self._answers = b""

    def send(self, **order: Any) -> None:
        """Raises WandbError if the process has ended."""
        try:
            self._stdin.write(json.dumps(order).encode() + b"\n")
            self._stdin.flush()
        except OSError:
            self.answer(1.0)
            raise WandbError(f"the process that logs ended (exit code {self._process.poll()})") from None

    def answer(self, seconds: float) -> dict[str, Any] | None:
        """The next answer within `seconds`. Raises WandbError if it is a problem, or the process has ended."""
        until = time.monotonic() + seconds
        while b"\n" not in self._answers:
            if not select.select([self._stdout], [], [], max(0.0, until - time.monotonic()))[0]:
                return None
            received = os.read(self._stdout.fileno(), 1 << 16)
            if not received:
                raise WandbError(f"the process that logs ended (exit code {self._process.wait()})")
            self._answers += received
        line, _, self._answers = self._answers.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("problem") is not None:
            raise WandbError(str(answer["problem"]))
        return answer

    def end(self) -> None:
        """Let the process end by itself, or kill it where it does not."""
        with suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._stdout.close()


_client: list[_Client] = []
"""The process of the command that is running; empty without one, or once it has failed."""


@contextmanager
def client(spec: RunSpec) -> Iterator[None]:
    """Keep a process for the runs of a command, if its spec names a project."""
    if spec.wandb is None or _client:
        yield
        return
    _client[:] = [_Client()]
    try:
        yield
    finally:
        _give_up()


def _give_up() -> None:
    while _client:
        _client.pop().end()


class WeightsAndBiases:
    """Logs one run."""

    def __init__(self, spec: RunSpec, run: Path) -> None:
        if spec.wandb is None:
            raise UsageError("wandb: no project is given")
        entity, _, project = spec.wandb.rpartition("/")
        group, name = _named(spec, run)
        self._run = str(run.resolve())
        self._begin = {
            "entity": entity or None,
            "project": project,
            "group": group,
            "name": name,
            "tags": [tag[:64] for tag in (Path(spec.job).name, spec.mode) if tag],
            "config": spec.resolved(),
        }

    def observe(self, status: ReplicaStatus) -> None:
        if not _client:
            return
        try:
            for news in status.news:
                if isinstance(news, LegStarted):
                    leg = (news.steps_before, news.samples_before, news.global_batch)
                    _client[0].send(run=self._run, begin=self._begin, leg=leg)
            _client[0].answer(0.0)
        except WandbError:
            _give_up()
            raise

    def add_finding(self, finding: Finding) -> None: ...

    def close(self, result: RunResult) -> None:
        if not _client:
            return
        try:
            _client[0].send(run=self._run, begin=self._begin, close=True)
            if _client[0].answer(PATIENCE_SECONDS) is None:
                raise WandbError(
                    f"it took longer than {PATIENCE_SECONDS:.0f} s to finish. Nothing more is sent to it; "
                    f"`wandb sync {self._run}/wandb/run-*` sends what is missing later"
                )
        except WandbError:
            _give_up()
            raise


def _named(spec: RunSpec, run: Path) -> tuple[str | None, str]:
    """Group and name of a run: `sync/seed0` in the group of its comparison, `t003` in that of its sweep."""
    above = run.resolve().parent.parent
    if (above / COMPARISON_SPEC).is_file():
        return above.name[:128], f"{spec.variant_name}/seed{spec.seed}"
    if (above / SWEEP_SPEC).is_file():
        return above.name[:128], run.name.removeprefix(f"{above.name}-")
    return None, run.name
