"""The page of a submitted run: made on the cluster's head, where its files are, and fetched whenever a browser asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from orchestrator.errors import ClusterError, RegattaError

PAGE, VERSION = "page.html", "version"
SECONDS_BETWEEN = 20.0
"""Shortest time between two pages: each is a job on the cluster, which takes some seconds to start."""


class SubmittedPage:
    """Keeps the latest page, and has it made again in the background once it is too old."""

    def __init__(self, fetch: Callable[[], Mapping[str, bytes]], clock: Callable[[], float] = time.monotonic) -> None:
        """`fetch` returns the files PAGE and VERSION. It is called once here.

        Raises:
            RegattaError: there is no such page.
        """
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._latest = self._made()
        self._fetched = clock()
        self._fetching: threading.Thread | None = None

    def current(self) -> tuple[str, bytes]:
        """Version and page, at once."""
        with self._lock:
            due = self._clock() - self._fetched >= SECONDS_BETWEEN
            if due and (self._fetching is None or not self._fetching.is_alive()):
                self._fetching = threading.Thread(target=self._renew, daemon=True)
                self._fetching.start()
            return self._latest

    def _renew(self) -> None:
        try:
            latest = self._made()
        except RegattaError:  # the cluster cannot be reached: the page says when it was read
            latest = self._latest
        with self._lock:
            self._latest = latest
            self._fetched = self._clock()

    def _made(self) -> tuple[str, bytes]:
        files = self._fetch()
        if not files.keys() >= {PAGE, VERSION}:
            raise ClusterError("The cluster did not send a page: does it use the same version of Regatta?")
        return files[VERSION].decode(errors="replace"), files[PAGE]
