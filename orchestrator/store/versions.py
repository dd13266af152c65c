"""Which version of Regatta wrote a folder, for messages about files that this version cannot read."""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path

from workers import files

ENVIRONMENT = "environment.json"
MAX_BYTES = 1 << 20
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")


def other_version(folder: Path) -> str:
    """A sentence that names the version to use, with a space before it; empty if it is this one, or is not known."""
    ours = importlib.metadata.version("regatta")
    for path in (folder / ENVIRONMENT, *sorted(folder.glob(f"runs/*/{ENVIRONMENT}"))[:1]):
        try:
            stored = json.loads(files.read(path, MAX_BYTES))
        except (OSError, ValueError, RecursionError):
            continue
        theirs = stored.get("regatta") if isinstance(stored, dict) else None
        if isinstance(theirs, str) and _VERSION.fullmatch(theirs) and theirs != ours:
            return f" It was written by Regatta {theirs}, and this is {ours}: use that version for it."
    return ""
