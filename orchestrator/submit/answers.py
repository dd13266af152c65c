"""HTTP answers of a cluster that may be hostile, or of something else at its address: limited in size and time.

`requests` reads an answer to its end, however long that is, and its timeout starts over with every byte.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

MAX_BYTES = 512 << 20
"""More than the text of the largest run that `regatta fetch` transfers."""
PATIENCE_SECONDS = 60.0
SLOWEST = 10_000
"""Bytes per second that an answer has to bring, on average, after the first `PATIENCE_SECONDS`."""
_CHUNK = 1 << 16


def request(method: str, url: str, *, headers: Mapping[str, str], **options: Any) -> Any:
    """A `requests.Response` that has been read completely; redirects are not followed.

    Raises:
        OSError: it did not arrive (`requests.RequestException`), took too long, or is too large.
    """
    import requests

    plain = {**headers, "Accept-Encoding": "identity"}  # no compression: a small answer could become a huge one
    response = requests.request(
        method, url, headers=plain, timeout=PATIENCE_SECONDS, allow_redirects=False, stream=True, **options
    )
    with response:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise requests.exceptions.ContentDecodingError("the answer is compressed, which was not asked for")
        response._content = _read(response)
        response._content_consumed = True
    return response


def _read(response: Any) -> bytes:
    import requests

    content, began = bytearray(), time.monotonic()
    while chunk := response.raw.read1(_CHUNK):
        content += chunk
        if len(content) > MAX_BYTES:
            raise requests.exceptions.ChunkedEncodingError(f"the answer is larger than {MAX_BYTES >> 20} MiB")
        if time.monotonic() - began > PATIENCE_SECONDS + len(content) / SLOWEST:
            raise requests.exceptions.ReadTimeout("the answer does not end")
    return bytes(content)
