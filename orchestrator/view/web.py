"""`regatta watch --web`: the report of a run under way, served to browsers on this host and kept up to date."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

from orchestrator.errors import UsageError
from orchestrator.report import html
from orchestrator.report.stored import UNREADABLE, run_folders
from orchestrator.report.study import load_study
from orchestrator.store.directory import COMPARISON, RESULT
from orchestrator.store.locks import is_driven
from orchestrator.store.metrics import METRICS
from orchestrator.text import plural

_SECONDS_BETWEEN = 5.0
"""Shortest time between two pages: each is made from all that was measured, in 0.3 s to some seconds."""


class Page(Protocol):
    """What is served."""

    def current(self) -> tuple[str, bytes]:
        """A text that changes with the page, and the page in UTF-8."""
        ...


class LivePage:
    """The page of the run or comparison in a folder, made again when more was measured."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._made: tuple[str, bytes] | None = None
        self._made_at = 0.0

    def current(self) -> tuple[str, bytes]:
        with self._lock:
            due = self._made is None or self._clock() - self._made_at >= _SECONDS_BETWEEN
            if self._made is None or (due and self._version() != self._made[0]):
                version = self._version()  # before what it stands for is read
                self._made = version, self._page(version).encode()
                self._made_at = self._clock()
            return self._made

    def _page(self, version: str) -> str:
        live = html.Live(version, self._state())
        try:
            return html.page(load_study(self._folder), live)
        except UsageError as error:
            said = f"There is nothing to show yet: {error.message}"
        except UNREADABLE as error:  # a file that its writer is creating
            said = f"It cannot be read at the moment ({type(error).__name__})."
        return html.empty_page(self._folder.name, live._replace(state=said))

    def _state(self) -> str:
        """How far training is, from the files and locks of its runs."""
        runs = run_folders(self._folder)
        ended = sum((run / RESULT).is_file() for run in runs)
        at = time.strftime("%H:%M:%S")
        if (self._folder / COMPARISON).is_file() or (runs and ended == len(runs)):
            return f"Ended. Read at {at}."
        if not any(is_driven(run) for run in runs):
            return f"{plural(ended, 'run')} ended, and none is under way here. Read at {at}."
        if runs == [self._folder]:
            return f"Training. Read at {at}; newer measurements appear by themselves."
        return f"Training; {plural(ended, 'run')} ended. The verdict may change. Read at {at}."

    def _version(self) -> str:
        """A text that changes with the files of the runs."""
        names = (METRICS, f"{METRICS}-wal", RESULT)
        files = [run / name for run in run_folders(self._folder) for name in names]
        return "-".join(str(_changed(file)) for file in [*files, self._folder / COMPARISON])


def _changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns // 1_000_000
    except OSError:
        return 0


class WebView(ThreadingHTTPServer):
    """Serves the page on 127.0.0.1 to requests that know its address, which holds a random token."""

    daemon_threads = True

    def __init__(self, page: Page, port: int = 0) -> None:
        """Raises UsageError if `port` is taken."""
        self.page = page
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise UsageError(
                f"--port {port} cannot be used on 127.0.0.1 ({error.strerror}); 0 takes a free one."
            ) from None
        self.host = f"127.0.0.1:{self.server_address[1]}"
        self.address = f"http://{self.host}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: WebView
    timeout = 30  # seconds that a client may keep a thread waiting

    def do_GET(self) -> None:
        root, asked = f"/{self.server.token}/".encode(), self.path.encode()
        known = [hmac.compare_digest(asked, path) for path in (root, root + b"version")]
        # Another name for this host in a request is a page of another site that tries to read this one (DNS rebinding).
        if not any(known) or self.headers.get("Host") != self.server.host:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        version, page = self.server.page.current()
        kind, body = ("text/html; charset=utf-8", page) if known[0] else ("text/plain", version.encode())
        self.send_response(HTTPStatus.OK)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is logged: the address holds the token."""
