"""Servers under measurement, each a command of its own that ends with its `with` block."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.integration.serving.real_server import models_of

_START_SECONDS = 300.0
_REGATTA = [sys.executable, "-P", "-c", "from orchestrator.cli.main import main; main()"]


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    process: psutil.Process

    def memory_mib(self) -> float:
        """Memory of all its processes without what they share (USS), in MiB."""
        total = 0
        for process in [self.process, *self.process.children(recursive=True)]:
            try:
                total += process.memory_full_info().uss
            except psutil.NoSuchProcess:
                continue
        return total / 2**20

    def replicas(self) -> list[psutil.Process]:
        """Processes of Ray Serve's replicas."""
        return [one for one in self.process.children(recursive=True) if "ServeReplica" in _command_line(one)]

    def models(self) -> list[psutil.Process]:
        """The processes that have loaded a model."""
        return models_of(self.process.pid)


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended
        return ""


@contextmanager
def regatta(folder: Path, *options: str) -> Iterator[Server]:
    """`regatta serve` of the versions in a folder."""
    command = [*_REGATTA, "serve", str(folder), "--name", "my_model", "--port", "0", "--grpc-port", "-1", *options]
    with _running(command, r"REST: (http://[\d.]+:\d+)/") as server:
        yield server


@contextmanager
def fastapi(model: Path) -> Iterator[Server]:
    """FastAPI with one SavedModel."""
    with _running(
        [sys.executable, "-P", "-m", "benchmarks.serving.peer", str(model)], r"(http://[\d.]+:\d+)"
    ) as server:
        yield server


@contextmanager
def _running(command: list[str], address: str) -> Iterator[Server]:
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        output = process.stdout
        assert output is not None
        reader = threading.Thread(target=lambda: lines.extend(output), daemon=True)
        reader.start()
        try:
            deadline = time.monotonic() + _START_SECONDS
            while (found := re.search(address, "".join(lines))) is None:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{' '.join(command)} did not start:\n{''.join(lines)}")
                time.sleep(0.1)
            yield Server(found[1], psutil.Process(process.pid))
        finally:
            process.terminate()
            process.wait(_START_SECONDS)
