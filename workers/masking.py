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


_LONGEST_WRAPPED = 1024
"""Length of a secret in bytes up to which its base64 is also found over several lines; longer ones take too long."""
_BREAK = re.compile(rb"\r?\n")


class Mask:
    """Replaces the values of `secrets` (name to value) by their names; without secrets, text is unchanged."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        plain = {form: name for name, value in secrets.items() for form in _plain(value) if len(form) >= SHORTEST}
        wrapped = {form: name for name, value in secrets.items() for form in _base64(value) if len(form) >= SHORTEST}
        short = {form for form in wrapped if len(form) <= _LONGEST_WRAPPED * 4 // 3}
        self._names = wrapped | plain
        self._plain = sorted(self._names, key=len, reverse=True)
        self._wrapped = sorted(short, key=len, reverse=True)
        gap = rb"(?:\r?\n)?"
        patterns = [gap.join(map(_escaped, form)) if form in short else re.escape(form) for form in self._plain]
        self._pattern = re.compile(b"|".join(patterns))
        self._longest = max((2 * len(form) for form in self._plain), default=0)
        self._held_back = b""

    def text(self, text: str) -> str:
        if not self._names:
            return text
        return self._masked(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

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
        return self._masked(data[:cut])

    def _masked(self, data: bytes) -> bytes:
        def name(found: re.Match[bytes]) -> bytes:
            form = found[0] if found[0] in self._names else _BREAK.sub(b"", found[0])
            return f"[secret {self._names[form]}]".encode()

        return self._pattern.sub(name, data)

    def _cut(self, data: bytes) -> int:
        """Index where a secret may begin that the end of `data` cuts off; `len(data)` if there is none."""
        complete = [found.span() for found in self._pattern.finditer(data)]
        first_bytes = {form[0] for form in self._plain}
        for start in range(max(0, len(data) - self._longest + 1), len(data)):
            if (
                data[start] in first_bytes
                and self._begins(data[start:])
                and not any(b < start < e for b, e in complete)
            ):
                return start
        return len(data)

    def _begins(self, rest: bytes) -> bool:
        """Whether `rest` is the beginning of a form, and not all of it."""
        joined = _BREAK.sub(b"", rest)
        return any(len(form) > len(rest) and form.startswith(rest) for form in self._plain) or any(
            len(form) > len(joined) and form.startswith(joined) for form in self._wrapped
        )


def _escaped(byte: int) -> bytes:
    return re.escape(bytes([byte]))


def _forms(value: str) -> Iterator[str]:
    """Yield the value as it is, quoted as in messages, JSON (also in JSON), URLs and hex, and each of its lines."""
    data = os.fsencode(value)
    quoted = [quote(data, safe=safe) for safe in ("", "/", "!$&'()*+,;=", "!$&'()*+,;=:", "-._~!$&'()*+,;=:@/")]
    jsons = [json.dumps(value, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)]
    yield from (value, repr(value)[1:-1], ascii(value)[1:-1], repr(data)[2:-1], quote_plus(data), *quoted, *jsons)
    yield from (_ESCAPE.sub(lambda found: found[0].lower(), form) for form in (quote_plus(data), *quoted))
    yield from (_ESCAPE.sub(lambda found: found[0][:2] + found[0][2:].upper(), form) for form in jsons)
    yield from (json.dumps(form, ensure_ascii=ascii_only)[1:-1] for form in jsons for ascii_only in (True, False))
    yield from (data.hex(), data.hex().upper())
    yield from (line.strip() for line in value.splitlines())


def _plain(value: str) -> Iterator[bytes]:
    for form in _forms(value):
        yield os.fsencode(form)
        yield form.encode("utf-8", "surrogatepass")


def _base64(value: str) -> Iterator[bytes]:
    """Yield what a value contributes to base64 of a text that it is a part of, such as HTTP Basic's `user:password`."""
    data = os.fsencode(value)
    for before in range(3):
        first, end = -(-8 * before // 6), 8 * (before + len(data)) // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(before) + data)[first:end]


_ESCAPE = re.compile(r"%[0-9A-F]{2}|\\u[0-9a-f]{4}")
