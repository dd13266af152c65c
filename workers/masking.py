"""Secrets of a run, kept out of what is told of it: its log and its failures.

A secret is known by the name of its environment variable. Wherever its value would leave the host a task runs on, in
one of the forms that Python prints it in, its name stands instead.
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
"""Characters; what is shorter would be found, and masked, in innocent text."""


class Mask:
    """Replaces the values of `secrets`, name to value; of no secrets it changes nothing."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        names = {form: name for name, value in secrets.items() for form in _forms(value) if len(form) >= SHORTEST}
        longest_first = sorted(names, key=len, reverse=True)
        self._names = names | {os.fsencode(form): name for form, name in names.items()}
        self._text = re.compile("|".join(map(re.escape, longest_first)))
        self._forms = [os.fsencode(form) for form in longest_first]
        self._bytes = re.compile(b"|".join(map(re.escape, self._forms)))
        self._held = b""

    def text(self, text: str) -> str:
        return self._text.sub(lambda found: f"[secret {self._names[found[0]]}]", text) if self._names else text

    def failure(self, failure: TaskFailure | None) -> TaskFailure | None:
        if failure is None or not self._names:
            return failure
        summary, traceback, hint = map(self.text, (failure.summary, failure.traceback, failure.hint))
        return replace(failure, summary=summary, traceback=traceback, hint=hint)

    def log(self, data: bytes, *, over: bool) -> bytes:
        """The next bytes of a log, masked. Held back is what may be the beginning of a secret, until it is `over`."""
        if not self._names or not (data or over):
            return data
        data = self._held + data
        cut = len(data) if over else self._cut(data)
        self._held = data[cut:]
        return self._bytes.sub(lambda found: f"[secret {self._names[found[0]]}]".encode(), data[:cut])

    def _cut(self, data: bytes) -> int:
        """Where the first secret begins that `data` holds a part of, at its end; not inside of a whole one."""
        whole = [found.span() for found in self._bytes.finditer(data)]
        first_bytes = {form[0] for form in self._forms}
        for start in range(max(0, len(data) - len(self._forms[0]) + 1), len(data)):
            if data[start] not in first_bytes:
                continue
            rest = data[start:]
            if any(form.startswith(rest) and len(form) > len(rest) for form in self._forms) and not any(
                begin < start < end for begin, end in whole
            ):
                return start
        return len(data)


def _forms(value: str) -> Iterator[str]:
    """As it is, as it is quoted in messages, JSON and URLs, and in base64 (HTTP's Basic); and every line of it."""
    yield from (value, repr(value)[1:-1], json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    data = os.fsencode(value)
    yield from (quote(data, safe=""), quote_plus(data), quote(data))
    yield base64.b64encode(data).decode().rstrip("=")
    yield from (line.strip() for line in value.splitlines())
