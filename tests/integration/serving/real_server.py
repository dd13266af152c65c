"""`regatta serve` as users start it, its folder of versions, and clients that compare every answer."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import requests

HERE = Path(__file__).parent
PATIENCE = 540.0
"""Seconds: a machine may be busy."""


@dataclass
class Server:
    """A running command, its folder of versions, and its addresses."""

    process: subprocess.Popen[str]
    versions: Path
    spare: Path
    rest: str
    grpc: str
    lines: list[str]

    @property
    def url(self) -> str:
        return f"{self.rest}/v1/models/my_model:predict"

    def replicas(self) -> list[psutil.Process]:
        """Processes of Ray Serve's replicas that this command has started."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if "ServeReplica" in command_line(child)]

    def models(self) -> list[psutil.Process]:
        """The processes that have loaded a model."""
        return models_of(self.process.pid)

    def said(self, words: str) -> None:
        """Wait until the command has said this."""
        deadline = time.monotonic() + PATIENCE
        while words not in "".join(self.lines):
            assert time.monotonic() < deadline, "".join(self.lines)
            time.sleep(0.05)


def models_of(command: int) -> list[psutil.Process]:
    """The processes that have loaded a model for the `regatta serve` with this pid: they are forked from its zygotes,
    which are in a session of their own."""
    marked = f"workers.supervisor.zygote serve-{command}-"
    forked = {one.pid: one for one in psutil.process_iter(["ppid"]) if marked in command_line(one)}
    return [one for one in forked.values() if one.info["ppid"] in forked]


def command_line(process: psutil.Process) -> str:
    """Empty for a process that has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def python(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def write_models(folder: Path) -> None:
    """Two SavedModels in `spare`, of which version 1 is in `versions` as well."""
    python(str(HERE / "saved_models.py"), str(folder / "spare"), "1", "10")
    (folder / "versions").mkdir()
    shutil.copytree(folder / "spare" / "1", folder / "versions" / "1")


@contextmanager
def serving(folder: Path, *options: str, env: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Serve `folder`/versions as `my_model`, on ports that are free."""
    command = [sys.executable, "-P", "-c", "from orchestrator.cli.main import main; main()", "serve", "versions"]
    fixed = ["--name", "my_model", "--port", "0", "--grpc-port", "0", "--timeout", str(PATIENCE)]
    process = subprocess.Popen([*command, *fixed, *options], cwd=folder, stderr=subprocess.PIPE, text=True, env=env)
    lines: list[str] = []
    errors = process.stderr
    assert errors is not None
    reader = threading.Thread(target=lambda: lines.extend(errors))
    reader.start()
    try:
        found: dict[str, str] = {}
        deadline = time.monotonic() + PATIENCE
        while len(found) < 2 and process.poll() is None and time.monotonic() < deadline:
            text = "".join(lines)
            found = {
                name: match[1]
                for name, pattern in (("rest", r"REST: (http://[\d.]+:\d+)/"), ("grpc", r"gRPC: (\S+)\n"))
                if (match := re.search(pattern, text))
            }
            time.sleep(0.1)
        assert len(found) == 2, "".join(lines)
        yield Server(process, folder / "versions", folder / "spare", found["rest"], found["grpc"], lines)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(PATIENCE)
        reader.join(60)


@dataclass
class Load:
    """Clients that ask without pause until the `with` block ends, and compare each answer with the right ones."""

    url: str
    clients: int = 3
    token: str = ""
    answered: list[tuple[float, int, str]] = field(default_factory=list)
    """Per request: when it was sent, the status, and whose answer it is: `v1`, `v2`, or what was wrong."""
    _ended: bool = False

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        for thread in self._threads:
            thread.join(PATIENCE)

    def _ask(self, number: int) -> None:
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {self.token}"
        while not self._ended:
            number = (number * 31 + 7) % 997
            since = time.monotonic()
            body = json.dumps({"instances": [[float(number), 1.0, 2.0]]})
            answer = session.post(self.url, data=body, timeout=PATIENCE)
            right, value = number + 8.0, answer.json().get("predictions", answer.text)
            whose = {str([[right]]): "v1", str([[10 * right]]): "v2"}.get(str(value), f"wrong: {value} for {number}")
            self.answered.append((since, answer.status_code, whose))

    def until(self, whose: str, since: float) -> None:
        """Wait for a right answer to a request that was sent after `since` (monotonic seconds)."""
        deadline = time.monotonic() + PATIENCE
        while not any(sent > since and found == whose for sent, _, found in self.answered):
            assert time.monotonic() < deadline, self.answered[-5:]
            time.sleep(0.05)
