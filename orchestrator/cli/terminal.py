"""The one way to the terminal: text that other people wrote moves no cursor, sets no title and hides nothing.

Names of jobs, lines of logs, messages of exceptions and file names may hold escape sequences. What cannot be seen is
spelled out (`\\x1b`), for terminals and files alike: a log is read in a terminal some day.
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
    """A console that shows text and obeys none of it."""
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
    """Print `text`, of one or many lines."""
    typer.echo(visible(text), file=cast("IO[str]", Lossy(sys.stderr)) if err else None, nl=nl)


class Lossy:
    """A stream that falls silent for good when it cannot be written: its pipe or terminal is closed, its disk full.

    What is said of a run is worth less than the run. For results there is stdout, which reports such errors.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._falling_silent():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._falling_silent():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _falling_silent(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            with suppress(OSError):  # the stream keeps what it could not write, and tries again when Python ends
                silence = os.open(os.devnull, os.O_WRONLY)
                os.dup2(silence, self._stream.fileno())
                os.close(silence)


def paragraph(message: str) -> str:
    """A message that can be read: what it quotes may be as long as a file, and have as many lines."""
    message = " ".join(message.split("\n"))
    if len(message) <= _LONGEST_MESSAGE:
        return message
    half = _LONGEST_MESSAGE // 2
    return f"{message[:half]} ... {message[-half:]}"


def visible(text: str) -> str:
    """`text` with its lines and tabs, and everything else that cannot be seen spelled out."""
    if text.isprintable():
        return text
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(plain(part, max(3, len(part))) for part in line.split("\t")) for line in lines)


def finish(document: Any, as_json: bool, show: Callable[[Console], None]) -> None:
    """End a command with its outcome: one JSON document on stdout, or text for a person."""
    if as_json:
        print_json(document)
    else:
        show(console())


def print_json(document: Any, indent: int | None = None) -> None:
    """Print one JSON document, which is safe for a terminal as it is."""
    from orchestrator.store.documents import to_text

    typer.echo(to_text(document, indent))
