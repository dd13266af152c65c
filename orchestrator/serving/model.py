"""A served model: its versions, from loading to unloading, and the requests that they are busy with."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from orchestrator.serving.batching import Batcher
from orchestrator.serving.paths import Wanted
from orchestrator.serving.refusal import Refusal
from orchestrator.serving.signature import Arrays, Description, Signature
from orchestrator.serving.versions import Found, Policy, versions_in

STATES = {"START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50}


class LoadError(Exception):
    """A version cannot be loaded; the message says why."""


class Engine(Protocol):
    """Runs loaded models: Ray Serve, or a function in this process for tests."""

    async def load(self, version: int, path: Path) -> Description:
        """Load a version and warm it up; raises LoadError."""

    async def call(self, version: int, signature: str, inputs: Arrays) -> Arrays:
        """Call a loaded version; raises Refusal."""

    async def unload(self, version: int) -> None:
        """Release a version, which no request uses any more."""


@dataclass(frozen=True)
class Limits:
    """How many requests there may be, and how they are joined."""

    most_rows: int = 64
    wait: float = 0.0
    concurrent: int = 2
    """Batches at a time."""
    queue: int = 1000
    """Requests that may be waiting; any more are refused."""
    drain: float = 30.0
    """Seconds that requests may take when a version, or the server, is to end."""


@dataclass
class Version:
    """One version, in any of its states."""

    found: Found
    state: str = "START"
    error: str = ""
    description: Description = field(default_factory=lambda: Description({}))
    batchers: dict[str, Batcher] = field(default_factory=dict)
    busy: int = 0

    @property
    def number(self) -> int:
        return self.found.number

    def signature(self, name: str) -> Signature:
        """A signature by name; raises Refusal."""
        if name not in self.description.signatures:
            raise Refusal("INVALID_ARGUMENT", f'Serving signature name: "{name[:200]}" not found in signature def')
        return self.description.signatures[name]


class Model:
    """The versions in one folder, under one name."""

    def __init__(
        self,
        name: str,
        folder: Path,
        engine: Engine,
        *,
        policy: Policy | None = None,
        labels: dict[str, int] | None = None,
        limits: Limits | None = None,
        tell: Callable[[str], None] = lambda _: None,
        observe: Callable[[int, int], None] = lambda *_: None,
    ) -> None:
        """`tell` is called with news of versions; `observe` with the version and the rows of every batch."""
        self.name = name
        self.versions: dict[int, Version] = {}
        self.limits = limits or Limits()
        self.labels = labels or {}
        self.waiting = 0
        self._folder = folder
        self._engine = engine
        self._policy = policy or Policy()
        self._tell = tell
        self._observe = observe

    def find(self, wanted: Wanted) -> Version:
        """The version that a request is for; raises Refusal."""
        if wanted.model == self.name:
            number = wanted.version
            if wanted.label is not None:
                if wanted.label not in self.labels:
                    raise Refusal("INVALID_ARGUMENT", f"Unrecognized servable version label: {wanted.label[:100]}")
                number = self.labels[wanted.label]
            available = [one for one in self.versions.values() if one.state == "AVAILABLE"]
            chosen = [one for one in available if number in (None, one.number)]
            if chosen:
                return max(chosen, key=lambda one: one.number)
        raise Refusal("NOT_FOUND", f"Servable not found for request: {str(wanted)[:200]}")

    def status(self, wanted: Wanted) -> list[Version]:
        """The versions that a status request is for, the newest first; raises Refusal."""
        number = self.labels.get(wanted.label, -1) if wanted.label is not None else wanted.version
        chosen = [one for one in self.versions.values() if number in (None, one.number)]
        if wanted.model != self.name or not chosen:
            raise Refusal("NOT_FOUND", f"Could not find any versions of model {wanted.model[:200]}")
        return sorted(chosen, key=lambda one: -one.number)

    @property
    def ready(self) -> bool:
        return any(one.state == "AVAILABLE" for one in self.versions.values())

    @contextlib.contextmanager
    def using(self, version: Version) -> Iterator[None]:
        """Keep a version loaded inside; raises Refusal if too many requests wait already."""
        if self.waiting >= self.limits.queue:
            raise Refusal("UNAVAILABLE", f"{self.waiting} requests are waiting already. Try again later.")
        self.waiting += 1
        version.busy += 1
        try:
            yield
        finally:
            version.busy -= 1
            self.waiting -= 1

    async def predict(self, version: Version, signature: str, inputs: Arrays) -> Arrays:
        """The outputs of a signature; raises Refusal."""
        return await version.batchers[signature].submit(inputs)

    async def refresh(self) -> None:
        """Look at the folder once: load what is new, then let go what is no longer to be served."""
        found = await asyncio.to_thread(versions_in, self._folder)
        chosen = self._policy.choose(found)
        for number in sorted(chosen, reverse=True):
            known = self.versions.get(number)
            if known is None or (known.state == "END" and known.found.stamp != found[number].stamp):
                await self._load(found[number])
        serving = {number for number, one in self.versions.items() if one.state == "AVAILABLE"}
        if serving & chosen:  # else the old ones go on
            await asyncio.gather(*[self._unload(self.versions[number]) for number in serving - chosen])

    async def _load(self, found: Found) -> None:
        version = Version(found, "LOADING")
        self.versions[found.number] = version
        try:
            version.description = await self._engine.load(found.number, found.path)
        except LoadError as error:
            version.state, version.error = "END", str(error)
            others = "The others are served on." if self.ready else "Nothing is served."
            self._tell(f"version {found.number} of {self.name} is refused: {error} {others}")
            return
        for name, signature in version.description.signatures.items():
            version.batchers[name] = self._batcher(version, name, signature)
        version.state = "AVAILABLE"
        note = f" ({version.description.note})" if version.description.note else ""
        self._tell(f"version {found.number} of {self.name} is served{note}")

    def _batcher(self, version: Version, name: str, signature: Signature) -> Batcher:
        return Batcher(
            lambda inputs: self._engine.call(version.number, name, inputs),
            joins=signature.rows and self.limits.most_rows > 1,
            most_rows=self.limits.most_rows,
            wait=self.limits.wait,
            concurrent=self.limits.concurrent,
            observe=lambda rows: self._observe(version.number, rows),
        )

    async def _unload(self, version: Version) -> None:
        version.state = "UNLOADING"  # no new requests
        await self.drained(version)
        await self._engine.unload(version.number)
        version.state = "END"
        version.batchers, version.description = {}, Description({})
        self._tell(f"version {version.number} of {self.name} is not served any more")

    async def drained(self, version: Version) -> bool:
        """Wait until no request uses the version; False if some still do when the time for it is up."""
        deadline = asyncio.get_running_loop().time() + self.limits.drain
        while version.busy and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        return not version.busy
