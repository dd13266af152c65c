"""All output to the terminal goes through here, so that no untrusted text can move the cursor or hide anything.

Job names, log lines, exception messages and file names may contain escape sequences. Unprintable characters are written
out (`\\x1b`), in terminals and in files alike, because logs are read in terminals too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, cast

import typer

from orchestrator.text import plain

if TYPE_CHECKING:
    from rich.console import Console

_LONGEST_MESSAGE = 1200


def console(*, stderr: bool = False) -> Console:
    """A console that escapes control characters instead of passing them to the terminal."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Safe(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                if segment.control or segment.text.isprintable():
                    yield segment
                else:
                    yield Segment(visible(segment.text), segment.style)

    return Safe(file=cast("IO[str]", Lossy(sys.stderr)) if stderr else None)


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print `text`, which may have several lines, with unprintable characters escaped."""
    typer.echo(visible(text), file=cast("IO[str]", Lossy(sys.stderr)) if err else None, nl=nl)


class Lossy:
    """A stream that discards all further output after a failed write: a closed pipe or terminal, or a full disk.

    Messages must not end a run. Results go to stdout, which does report such errors.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._discarding():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._discarding():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _discarding(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            with suppress(OSError):  # Python retries unwritten output when it exits
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)


def paragraph(message: str) -> str:
    """Put a message on one line and shorten it: it may quote a whole file."""
    message = " ".join(message.split("\n"))
    if len(message) <= _LONGEST_MESSAGE:
        return message
    half = _LONGEST_MESSAGE // 2
    return f"{message[:half]} ... {message[-half:]}"


def visible(text: str) -> str:
    """Escape the unprintable characters of `text`, except line breaks and tabs."""
    if text.isprintable():
        return text
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(plain(part, max(3, len(part))) for part in line.split("\t")) for line in lines)


def finish(document: Any, as_json: bool, show: Callable[[Console], None]) -> None:
    """Print a command's result: one JSON document on stdout, or text through `show`."""
    if as_json:
        print_json(document)
    else:
        show(console())


def print_json(document: Any, indent: int | None = None) -> None:
    """Print one JSON document, which needs no escaping: JSON escapes control characters itself."""
    from orchestrator.store.documents import to_text

    typer.echo(to_text(document, indent))
