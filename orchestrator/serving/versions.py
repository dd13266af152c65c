"""Which numbered versions a folder has, and which of them are to be served."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UsageError

_NUMBER = re.compile(r"[0-9]{1,18}")
_LABEL = re.compile(r"[A-Za-z0-9_.-]{1,64}")
MODEL_FILE = "saved_model.pb"


@dataclass(frozen=True)
class Found:
    """A version's folder, with what tells whether it has changed."""

    number: int
    path: Path
    stamp: tuple[int, int]


@dataclass(frozen=True)
class Policy:
    """The versions to serve: the latest `latest`, all, or certain ones."""

    latest: int | None = 1
    """None for all."""
    only: frozenset[int] = frozenset()

    def choose(self, found: Collection[int]) -> set[int]:
        """The versions to serve, of those found."""
        if self.only:
            return set(self.only & set(found))
        newest = sorted(found, reverse=True)
        return set(newest if self.latest is None else newest[: self.latest])


def parse_policy(text: str) -> Policy:
    """Parse `latest`, `latest:2`, `all` or `1,3`; raises UsageError."""
    if text == "all":
        return Policy(None)
    kind, _, count = text.partition(":")
    if kind == "latest" and (not count or (_NUMBER.fullmatch(count) and int(count) > 0)):
        return Policy(int(count or 1))
    numbers = text.split(",")
    if all(_NUMBER.fullmatch(number) for number in numbers):
        return Policy(only=frozenset(map(int, numbers)))
    raise UsageError(f"--versions: {text!r} is not allowed: give latest, latest:2, all, or numbers such as 1,3.")


def parse_labels(pairs: dict[str, str]) -> dict[str, int]:
    """Parse `{"stable": "1"}`; raises UsageError."""
    for label, number in pairs.items():
        if not _LABEL.fullmatch(label) or not _NUMBER.fullmatch(number):
            raise UsageError(f"--label: {label}={number} is not allowed: give LABEL=VERSION, such as stable=1.")
    return {label: int(number) for label, number in pairs.items()}


def versions_in(folder: Path) -> dict[int, Found]:
    """The versions in a folder: subfolders that are named by a number and hold a whole SavedModel."""
    found = {}
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return {}
    for path in entries:
        if not _NUMBER.fullmatch(path.name):
            continue
        try:
            status = (path / MODEL_FILE).stat()
        except OSError:  # still being written
            continue
        number = int(path.name)
        if number not in found:  # 1 and 001 are the same version
            found[number] = Found(number, path, (status.st_mtime_ns, status.st_size))
    return found
