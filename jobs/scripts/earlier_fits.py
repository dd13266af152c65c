"""The calls of `fit` before the one that a run trains, which were runs of their own: here they only return."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.api import EndedFit
from jobs.scripts.errors import ScriptError
from jobs.scripts.intercept import Fit
from jobs.scripts.overlay import FILES, TAKEN, without

if TYPE_CHECKING:
    import keras

_BEFORE = ".before-fit.json"
MOST_BYTES = 2 << 30
"""Of the files that a `fit` writes, how much is handed on."""


class EarlierFits:
    """What the earlier fits of a script have left behind."""

    def __init__(self, ended: Sequence[EndedFit], home: Path) -> None:
        """`home` is the folder of the command, below which their files are."""
        self._ended = ended
        self._home = home

    def __len__(self) -> int:
        return len(self._ended)

    def __contains__(self, number: int) -> bool:
        return number <= len(self._ended)

    def restore(self, reached: Fit, number: int) -> keras.callbacks.History:
        """Do what `fit` did: to its model, its callbacks, the data it was given, and its files."""
        ended = self._ended[number - 1]
        call = reached.read()
        batch = next(iter(call.data.dataset()))
        history = ended.restore(reached.model, batch, call.callbacks)
        call.data.pass_over(len(history.epoch))
        for name, content in ended.files.items():
            path = self._home / name  # where the script finds it, whichever folder it runs in
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return history

    def make_again(self, reached: Fit, number: int) -> None:
        """Do the same in a repeated run, whose History is known; only build the model of a `fit` that is not kept."""
        if number in self:
            self.restore(reached, number)
        else:
            reached.build()


def written_since(folder: Path) -> Callable[[], Mapping[str, bytes]]:
    """A function that returns the files that have changed in a script's `folder` since its `fit` began.

    It begins now, unless an earlier attempt has begun it already, which the folder remembers.
    """
    marks = folder / _BEFORE
    with without():
        try:
            before = json.loads(marks.read_text())
        except (OSError, ValueError):
            before = {name: _mark(path) for name, path in _written(folder).items()}
            marks.write_text(json.dumps(before))

    def changed() -> Mapping[str, bytes]:
        found: dict[str, bytes] = {}
        left = MOST_BYTES
        with without():
            written = {name: path for name, path in _written(folder).items() if _mark(path) != before.get(name)}
            for name, path in written.items():
                left -= path.stat().st_size
                if left < 0:
                    raise ScriptError(
                        f"fit has written more than {MOST_BYTES >> 30} GiB of files ({name} is one too many), which "
                        "later calls of fit would not find: have its callbacks keep fewer, or write to an absolute "
                        "path elsewhere"
                    )
                found[name] = path.read_bytes()
        return found

    return changed


def _written(folder: Path) -> dict[str, Path]:
    """The files of a script that runs in a run's `folder`, by path as the script knows them."""
    found = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if parts[0] == FILES and len(parts) > 1 and parts[1] in TAKEN:
            parts = parts[1:]
        elif parts[0] in TAKEN:  # Regatta's own
            continue
        if path.is_file() and not any(part.startswith(".") for part in parts):
            found[str(Path(*parts))] = path
    return found


def _mark(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_mtime_ns, stat.st_size]
