"""The REST interface, as an ASGI application: any ASGI server can run it."""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from orchestrator.serving import json_body, predict_json
from orchestrator.serving.model import Version
from orchestrator.serving.paths import METRICS, Route, Wanted, route
from orchestrator.serving.proto_tensors import signature_json
from orchestrator.serving.refusal import Refusal
from orchestrator.serving.service import Service

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
HEALTH = "/healthz"
_JSON = b"application/json"
_TEXT = b"text/plain; charset=utf-8"


class Rest:
    """Answers HTTP requests for a service."""

    def __init__(self, service: Service, *, body_bytes: int, body_seconds: float, held_bytes: int) -> None:
        """`body_bytes` and `body_seconds` limit one request, `held_bytes` the bodies of all at a time."""
        self._service = service
        self._body_bytes = body_bytes
        self._body_seconds = body_seconds
        self._room = held_bytes

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})
            return
        headers = dict(scope["headers"])
        path = bytes(scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0].decode("latin-1")
        try:
            code, kind, answer = await self._answer(scope["method"], path, headers, receive)
        except Refusal as refusal:
            code, kind, answer = refusal.http, _JSON, _error(refusal.message)
        await self._send(send, code, kind, answer, empty=scope["method"] == "HEAD")

    async def _send(self, send: Send, code: int, kind: bytes, answer: bytes, *, empty: bool) -> None:
        headers = [(b"content-type", kind), (b"content-length", str(len(answer)).encode())]
        if code in (429, 503):
            headers.append((b"retry-after", b"1"))
        if code == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if code == 408:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": code, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if empty else answer})

    async def _answer(
        self, method: str, path: str, headers: dict[bytes, bytes], receive: Receive
    ) -> tuple[int, bytes, bytes]:
        if path == HEALTH:
            healthy = self._service.model.ready and not self._service.ending
            return (200, _TEXT, b"ok\n") if healthy else (503, _TEXT, b"no version is served\n")
        self._service.authenticate(headers.get(b"authorization"))
        if path == METRICS and method == "GET":
            return 200, _TEXT, self._service.metrics_page()
        found = route(method, path)
        if found.action == "status":
            return 200, _JSON, self._status(found.wanted)
        if found.action == "metadata":
            return 200, _JSON, self._metadata(found.wanted)
        since, status, version = time.monotonic(), "OK", None
        try:
            version = self._service.model.find(found.wanted)
            return 200, _JSON, await self._predict(found, version, headers, receive)
        except Refusal as refusal:
            status = refusal.status
            raise
        except asyncio.CancelledError:
            status = "CANCELLED"
            raise
        finally:
            self._service.record(found.wanted, version, found.action.title(), "REST", status, since)

    async def _predict(self, found: Route, version: Version, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        declared = _declared_length(headers)
        if declared is not None and declared > self._body_bytes:
            raise _too_large(self._body_bytes)
        held = self._hold(declared if declared is not None else self._body_bytes)
        try:
            raw = await self._read(receive)
            body = json_body.parse(_decoded(raw, headers, self._body_bytes))
            signature = version.signature(body.signature)
            if found.action != "predict":
                from orchestrator.serving import examples

                inputs = examples.read(body, signature, found.action)
                outputs = await self._service.predict(version, body.signature, inputs)
                return examples.write(outputs, found.action)
            inputs, form = predict_json.read(body, signature)
            return predict_json.write(await self._service.predict(version, body.signature, inputs), form)
        finally:
            self._room += held

    def _hold(self, size: int) -> int:
        if size > self._room:
            raise Refusal("UNAVAILABLE", "The requests at hand take all the memory that there is for them.")
        self._room -= size
        return size

    async def _read(self, receive: Receive) -> bytes:
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._body_seconds):
                while True:
                    event = await receive()
                    if event["type"] == "http.disconnect":
                        raise Refusal("INVALID_ARGUMENT", "The client has gone.")
                    parts.append(event.get("body", b""))
                    size += len(parts[-1])
                    if size > self._body_bytes:
                        raise _too_large(self._body_bytes)
                    if not event.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise Refusal(
                "DEADLINE_EXCEEDED", f"The request did not arrive within {self._body_seconds:g} s.", http=408
            ) from None

    def _status(self, wanted: Wanted) -> bytes:
        shown = [
            {
                "version": str(version.number),
                "state": version.state,
                "status": {"error_code": "UNKNOWN" if version.error else "OK", "error_message": version.error},
            }
            for version in self._service.model.status(wanted)
        ]
        return _printed({"model_version_status": shown})

    def _metadata(self, wanted: Wanted) -> bytes:
        version = self._service.model.find(wanted)
        signatures = {name: signature_json(one) for name, one in sorted(version.description.signatures.items())}
        return _printed(
            {
                "model_spec": {"name": wanted.model, "signature_name": "", "version": str(version.number)},
                "metadata": {"signature_def": {"signature_def": signatures}},
            }
        )


def _declared_length(headers: dict[bytes, bytes]) -> int | None:
    text = headers.get(b"content-length", b"")
    return int(text) if text.isdigit() and len(text) < 20 else None


def _decoded(raw: bytes, headers: dict[bytes, bytes], limit: int) -> bytes:
    encoding = headers.get(b"content-encoding", b"identity").lower().strip()
    if encoding in (b"identity", b""):
        return raw
    if encoding != b"gzip":
        raise Refusal("INVALID_ARGUMENT", f"Content-Encoding {encoding[:40]!r} is not gzip.", http=415)
    inflater = zlib.decompressobj(31)
    try:
        plain = inflater.decompress(raw, limit + 1)
    except zlib.error as error:
        raise Refusal("INVALID_ARGUMENT", f"The request is not gzip: {error}") from None
    if len(plain) > limit:
        raise _too_large(limit)
    if not inflater.eof or inflater.unused_data:
        raise Refusal("INVALID_ARGUMENT", "The request is not one whole gzip stream.")
    return plain


def _too_large(limit: int) -> Refusal:
    return Refusal("INVALID_ARGUMENT", f"The request is larger than {limit:,} bytes (--max-body-mb).", http=413)


def _error(message: str) -> bytes:
    return json.dumps({"error": message}).encode()


def _printed(document: Any) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"
