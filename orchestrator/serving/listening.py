"""The HTTP and gRPC servers that carry a service, on sockets of this host."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.serving.rest import Rest
from orchestrator.serving.rpc import Rpc
from orchestrator.serving.service import Service
from workers.addresses import join


@dataclass(frozen=True)
class Listening:
    """Where and how a server listens."""

    host: str = "127.0.0.1"
    port: int = 8501
    grpc_port: int | None = 8500
    """None: no gRPC."""
    body_bytes: int = 16 << 20
    body_seconds: float = 30.0
    header_bytes: int = 64 << 10
    header_seconds: float = 10.0
    connections: int = 2000
    drain: float = 30.0


def open_socket(host: str, port: int, flag: str) -> socket.socket:
    """A listening socket; raises UsageError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"{flag}: {join(host, port)} cannot be listened on: {error}. Give another port, or end what listens there."
        ) from None
    # Connections inherit it; asyncio sets it for sockets only that name their protocol. Without it a client that keeps
    # its connection waits 40 ms for the second part of an answer.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


class Servers:
    """HTTP on a socket that is open already, and gRPC."""

    def __init__(self, service: Service, settings: Listening, http: socket.socket) -> None:
        self._service = service
        self._settings = settings
        self._socket = http
        self.grpc_port: int | None = None

    async def start(self) -> None:
        """Accept requests; raises UsageError if the gRPC port is taken."""
        import uvicorn

        settings = self._settings
        self._rpc = self._start_rpc() if settings.grpc_port is not None else None
        if self._rpc is not None:
            await self._rpc.start()
        rest = Rest(
            self._service,
            body_bytes=settings.body_bytes,
            body_seconds=settings.body_seconds,
            held_bytes=8 * settings.body_bytes,
        )
        config = uvicorn.Config(
            rest,
            http=guarded(settings.header_bytes, settings.header_seconds),
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="critical",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=settings.connections,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=int(settings.drain),
        )
        self._http = _without_signals()(config)
        self._serving = asyncio.get_running_loop().create_task(self._http.serve(sockets=[self._socket]))
        while not self._http.started and not self._serving.done():
            await asyncio.sleep(0.01)

    def _start_rpc(self) -> Any:
        from grpc import aio

        settings = self._settings
        server = aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.body_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=self._service.model.limits.queue,
        )
        server.add_generic_rpc_handlers(Rpc(self._service).handlers())
        address = join(settings.host, settings.grpc_port or 0)
        try:
            self.grpc_port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise UsageError(
                f"--grpc-port: {address} cannot be listened on: {error}. Give another port, or end what listens there."
            ) from None
        return server

    async def stop(self) -> None:
        """Take no more requests, answer those at hand, and close."""
        self._service.ending = True
        self._http.should_exit = True
        if self._rpc is not None:
            await self._rpc.stop(self._settings.drain)
        await self._serving


def _without_signals() -> type[Any]:
    import uvicorn

    class Quiet(uvicorn.Server):  # type: ignore[misc]
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Leaves signals to the command."""
            yield

    return Quiet


def guarded(header_bytes: int, header_seconds: float) -> type[asyncio.Protocol]:
    """Uvicorn's protocol, which by itself waits for ever for a request's headers, however large they grow."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class Guarded(HttpToolsProtocol):  # type: ignore[misc]
        """Closes connections whose headers are too slow or too large."""

        guard: asyncio.TimerHandle | None = None
        received = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._await_headers()

        def _await_headers(self) -> None:
            self.received = 0
            if self.guard is None:
                self.guard = self.loop.call_later(header_seconds, self.transport.close)

        def data_received(self, data: bytes) -> None:
            self.received += len(data)
            super().data_received(data)
            if self.guard is not None and self.received > header_bytes:
                self.transport.close()

        def on_message_begin(self) -> None:
            self._await_headers()
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._cancel_guard()
            super().on_headers_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel_guard()
            super().connection_lost(exc)

        def _cancel_guard(self) -> None:
            if self.guard is not None:
                self.guard.cancel()
                self.guard = None

    return Guarded
