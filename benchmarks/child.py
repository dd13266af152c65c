"""Starts contenders in child processes, sends them requests, reads their answers and ends them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parents[1]
ANSWER_SECONDS = 900.0
"""Time without an answer after which a contender counts as hung."""
_TAIL = 4_000


class ChildFailed(RuntimeError):  # noqa: N818 - an event, like `CalledProcessError`
    """A contender's process ended or hung without an answer; the message contains the end of its output."""


class Child:
    """A process that runs one of our modules. Its request on stdin and its answers on a pipe are lines of JSON."""

    def __init__(self, module: str, request: Mapping[str, Any], env: Mapping[str, str] | None = None) -> None:
        self._module = module
        self._home = tempfile.TemporaryDirectory(prefix="regatta-benchmark-")
        self._log = Path(self._home.name, "log").open("wb+")  # noqa: SIM115 - closed by `end`
        reader, writer = os.pipe()
        path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
        folder = Path(self._home.name, "empty")
        folder.mkdir()
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(writer)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            pass_fds=[writer],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "2", **(env or {})},
            start_new_session=True,
            text=True,
        )
        os.close(writer)
        self._answers: TextIO = os.fdopen(reader)
        self._write(json.dumps(request))

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.end()

    def answer(self, timeout: float = ANSWER_SECONDS) -> dict[str, Any]:
        """Wait for the next answer.

        Raises:
            ChildFailed: the process ended instead, or did not answer for `timeout` seconds.
        """
        hung = threading.Timer(timeout, os.killpg, (self.process.pid, signal.SIGKILL))
        hung.start()
        line = self._answers.readline()
        hung.cancel()
        if not line:
            code = self.process.wait()
            self._log.seek(0)
            tail = self._log.read()[-_TAIL:].decode(errors="replace")
            killed = f"did not answer for {timeout:g} s, or was killed"
            what = killed if code == -signal.SIGKILL else f"ended with exit code {code}"
            raise ChildFailed(f"{self._module} {what}:\n{tail}")
        found: dict[str, Any] = json.loads(line)
        return found

    def go(self) -> None:
        """Let the child continue, which waits in `Line.ready`."""
        self._write("go")

    def finish(self) -> float:
        """Wait until the process exits; returns the seconds since it was started."""
        self.process.wait()
        return time.monotonic() - self.started

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._answers.close()
        self._log.close()
        self._home.cleanup()

    def _write(self, line: str) -> None:
        if self.process.stdin is None:
            raise RuntimeError("a child is started with a pipe to its standard input")
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # `answer` reports why the process ended


class Line:
    """The child's end: reads the request, and writes answers."""

    def __init__(self) -> None:
        self._answers = os.fdopen(int(sys.argv[1]), "w")
        self.request: dict[str, Any] = json.loads(sys.stdin.readline())
        if (core := self.request.get("core")) is not None:
            os.sched_setaffinity(0, {int(core)})  # before any library starts threads

    def ready(self) -> None:
        """Report that warm-up is done, and wait until all concurrent children are ready."""
        self.answer(ready=True)
        sys.stdin.readline()

    def answer(self, **values: Any) -> None:
        self._answers.write(json.dumps(values) + "\n")
        self._answers.flush()
