"""Runs the commands of the console blocks in README and docs, and puts what they print now into the pages.

    python -m docs.refresh                      # every page
    python -m docs.refresh docs/jobs.md         # some
    python -m docs.refresh --check docs/jobs.md # says which lines a command no longer prints, and writes nothing

A ```console block shows the lines that matter of what its commands print, `...` in between or not. A line is replaced
by the next one of the output that begins with the same word (up to its first digit), and a table, which has a rule
below its head, by the whole of the next one with that head. A ```text block below `<!-- output of: COMMAND -->` shows
whole paragraphs: each is replaced by the next one with a line that begins as its first line does. Where there is
none, the page has to be mended by hand. `^C` sends Ctrl-C once training has begun. The commands of a page run one
after another in one folder. A block below `<!-- by hand: WHY -->` is left alone; every block of output is one of the
three.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, takewhile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>by hand|output of): (?P<text>[^\n]*) -->\n+)?^```(?P<kind>console|text)\n(?P<body>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
_TRAINS = re.compile(r": [\d,]*[1-9][\d,]* samples")
_WIDTH = {"COLUMNS": "80", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1"}


@dataclass
class Shown:
    """A command, and the lines of its output that a page shows."""

    command: str
    lines: list[str] = field(default_factory=list)


class GoneError(Exception):
    """A command no longer prints what a page shows of it."""


def shown(body: str) -> Iterator[Shown]:
    """The commands of a console block."""
    current: Shown | None = None
    open_command = False
    for line in body.splitlines():
        if line.startswith("$ ") or (open_command and current is not None):
            if current is not None and not open_command:
                yield current
            current = Shown(line) if not open_command or current is None else Shown(f"{current.command}\n{line}")
            open_command = line.endswith("\\")
        elif current is not None:
            current.lines.append(line)
    if current is not None:
        yield current


def key(line: str) -> str:
    """What a line is found by: its first word, up to the first digit; spaces in front of it count."""
    return re.split(r"\d", re.match(r"\s*\S*", line)[0], maxsplit=1)[0]  # type: ignore[index]


def refreshed(lines: Sequence[str], output: Sequence[str]) -> list[str]:
    """The shown `lines`, as they are in `output` now.

    Raises:
        GoneError: `output` has no line that begins as one of them does.
    """
    new: list[str] = []
    at, in_table = 0, False
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if not line.strip() or line in ("...", "^C"):
            new.append(line)
            in_table = False
            continue
        if in_table:
            continue
        found = next((i for i in range(at, len(output)) if output[i].strip() and key(output[i]) == key(line)), None)
        if found is None:
            raise GoneError(f"no line begins with {key(line)!r} any more, as in {line!r}")
        new.append(output[found].rstrip())
        at = found + 1
        if in_table := bool(below.strip()) and not below.strip(" ─"):
            rows = [row.rstrip() for row in takewhile(str.strip, output[at:])]
            new += rows
            at += len(rows)
    return new


def refreshed_paragraphs(lines: Sequence[str], output: Sequence[str]) -> list[str]:
    """The shown paragraphs, as they are in `output` now, from the line that begins as their first.

    Raises:
        GoneError: `output` has no line that begins as the first of one of them does.
    """
    new: list[str] = []
    at = 0
    for shown_one, paragraph in groupby(lines, lambda line: bool(line.strip()) and line != "..."):
        if not shown_one:
            new += paragraph
            continue
        new += refreshed([next(paragraph)], output[at:])
        at += next(i for i, line in enumerate(output[at:], 1) if line.rstrip() == new[-1])
        rest = list(takewhile(str.strip, output[at:]))
        new += [line.rstrip() for line in rest]
        at += len(rest)
    return new


def run(command: str, interrupt: bool, folder: Path) -> list[str]:
    """What `command` prints at a width of 80 columns."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command}" if interrupt else command],
        cwd=folder,
        env=os.environ | _WIDTH | {"PATH": path, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if interrupt and _TRAINS.search(line):
            process.send_signal(signal.SIGINT)
            interrupt = False
    process.wait()
    return lines


def refresh(page: Path) -> tuple[str, list[str]]:
    """The text of `page` with what its commands print now, and what could not be replaced."""
    gone: list[str] = []
    with tempfile.TemporaryDirectory() as folder:

        def block(match: re.Match[str]) -> str:
            if match["note"] == "by hand" or (match["kind"] == "text" and match["note"] is None):
                return match[0]
            body = match["body"]
            text = match["kind"] == "text"
            parts = [Shown(match["text"], body.splitlines())] if text else list(shown(body))
            renewed = refreshed_paragraphs if text else refreshed
            for part in parts:
                command = part.command.removeprefix("$ ").replace("\\\n", " ")
                print(f"{page.name}: {command}", file=sys.stderr)
                try:
                    part.lines = renewed(part.lines, run(command, "^C" in part.lines, Path(folder)))
                except GoneError as error:
                    gone.append(f"{page.name}: {command}: {error}")
            heads = [] if text else [part.command for part in parts]
            texts = ["\n".join([*heads[i : i + 1], *part.lines]) for i, part in enumerate(parts)]
            return match[0].replace(body, "\n".join(texts) + "\n")

        return _BLOCK.sub(block, page.read_text(encoding="utf-8")), gone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", type=Path, default=PAGES)
    parser.add_argument("--check", action="store_true", help="write nothing")
    given = parser.parse_args()
    gone: list[str] = []
    for page in given.pages:
        text, missing = refresh(page)
        gone += missing
        if not given.check:
            page.write_text(text, encoding="utf-8")
    if gone:
        sys.exit("\n".join(gone))


if __name__ == "__main__":
    main()
