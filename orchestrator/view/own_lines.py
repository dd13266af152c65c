"""The user's own lines in a task's log, which TensorFlow and its libraries fill with theirs."""

from __future__ import annotations

import re

_FOREIGN = re.compile(
    r"[IWEF]\d{4} \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWEF] |regatta: |/job:\w+/"
    r"|WARNING: All log messages before absl::InitializeLog|To enable the following instructions: |\s*\[\[\{\{"
)
"""How lines of TensorFlow's and Regatta's begin."""


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
