"""Masks the secrets of a run in its logs and failures.

Secrets are values of environment variables. Before text leaves the host a task runs on, every occurrence of a value, in
any of the forms in which Python prints it, is replaced by `[secret NAME]`.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from urllib.parse import quote, quote_plus

from workers.messages import TaskFailure

SHORTEST = 6
"""Minimum length in characters; shorter values are not masked, because they would match ordinary text."""


class Mask:
    """Replaces the values of `secrets` (name to value) by their names; without secrets, text is unchanged."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        names = {form: name for name, value in secrets.items() for form in _forms(value) if len(form) >= SHORTEST}
        longest_first = sorted(names, key=len, reverse=True)
        self._names = names | {os.fsencode(form): name for form, name in names.items()}
        self._text = re.compile("|".join(map(re.escape, longest_first)))
        self._forms = [os.fsencode(form) for form in longest_first]
        self._bytes = re.compile(b"|".join(map(re.escape, self._forms)))
        self._held_back = b""

    def text(self, text: str) -> str:
        return self._text.sub(lambda found: f"[secret {self._names[found[0]]}]", text) if self._names else text

    def failure(self, failure: TaskFailure | None) -> TaskFailure | None:
        if failure is None or not self._names:
            return failure
        summary, traceback, hint = map(self.text, (failure.summary, failure.traceback, failure.hint))
        return replace(failure, summary=summary, traceback=traceback, hint=hint)

    def log(self, data: bytes, *, ended: bool) -> bytes:
        """Mask the next bytes of a log. Until the log has `ended`, a tail that may begin a secret is held back."""
        if not self._names or not (data or ended):
            return data
        data = self._held_back + data
        cut = len(data) if ended else self._cut(data)
        self._held_back = data[cut:]
        return self._bytes.sub(lambda found: f"[secret {self._names[found[0]]}]".encode(), data[:cut])

    def _cut(self, data: bytes) -> int:
        """Index where a secret may begin that the end of `data` cuts off; `len(data)` if there is none."""
        complete = [found.span() for found in self._bytes.finditer(data)]
        first_bytes = {form[0] for form in self._forms}
        for start in range(max(0, len(data) - len(self._forms[0]) + 1), len(data)):
            if data[start] not in first_bytes:
                continue
            rest = data[start:]
            if any(form.startswith(rest) and len(form) > len(rest) for form in self._forms) and not any(
                begin < start < end for begin, end in complete
            ):
                return start
        return len(data)


def _forms(value: str) -> Iterator[str]:
    """Yield the value as it is, quoted as in messages, JSON and URLs, in base64 (HTTP Basic), and each of its lines."""
    yield from (value, repr(value)[1:-1], json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    data = os.fsencode(value)
    yield from (quote(data, safe=""), quote_plus(data), quote(data))
    yield base64.b64encode(data).decode().rstrip("=")
    yield from (line.strip() for line in value.splitlines())
