"""The user's own lines in a task's log, which TensorFlow and its libraries fill with theirs."""

from __future__ import annotations

import re

_FOREIGN = re.compile(
    r"[IWEF]\d{4} \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWEF] |regatta: |/job:\w+/"
    r"|WARNING: All log messages before absl::InitializeLog|To enable the following instructions: |\s*\[\[\{\{"
)
"""How lines of TensorFlow's and Regatta's begin."""

_ROUTINE = re.compile(
    r"I\d{4} \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: I |.* failed call to cuInit: "
    r"|WARNING: All log messages before absl::InitializeLog|To enable the following instructions: "
)
_DUMPED = re.compile(r"I\d{4} .* SessionOptions: ")
_OF_DUMP = re.compile(r"\s*([a-z_]+( \{|: \S+)|\})?\s*$")
"""Lines of the settings that TensorFlow writes out behind the line that names them, the last of which is empty."""


class Routine:
    """Recognises, from one line of a log to the next, what TensorFlow writes in every run: no warning, no error."""

    def __init__(self) -> None:
        self._dumping = False

    def __call__(self, line: str) -> bool:
        """Whether `line`, the log's next one, is routine."""
        if self._dumping and _OF_DUMP.match(line):
            self._dumping = bool(line.strip())
            return True
        self._dumping = _DUMPED.match(line) is not None
        return _ROUTINE.match(line) is not None


class OwnLines:
    """Reads a log as it grows."""

    def __init__(self) -> None:
        self._rest = b""

    def read(self, data: bytes) -> list[str]:
        """The user's lines that `data`, the log's next bytes, completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        # What a progress bar overwrites was never to stay.
        texts = (line.decode(errors="replace").rstrip("\r").rpartition("\r")[2].rstrip() for line in lines)
        return [text for text in texts if text and not _FOREIGN.match(text)]
