"""What the server does with a request, whichever way it came: REST and gRPC call these."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.serving.metrics import Metrics
from orchestrator.serving.model import Model, Version
from orchestrator.serving.paths import Wanted
from orchestrator.serving.refusal import Refusal
from orchestrator.serving.signature import Arrays


@dataclass
class Service:
    """One model, with the counters and the token of its server."""

    model: Model
    metrics: Metrics
    token: str | None = None
    """Where set, every request but those for health has to bring it."""
    access: Callable[[str], None] | None = None
    """Told of every request: never of what is in it."""
    ending: bool = field(default=False)
    """Health says no, so that a load balancer sends no more; what still arrives is answered."""

    def authenticate(self, authorization: str | bytes | None) -> None:
        """Raises Refusal if a token is needed, and this is not its header."""
        if self.token is None:
            return
        given = authorization.encode("utf-8", "replace") if isinstance(authorization, str) else authorization or b""
        if not hmac.compare_digest(given, b"Bearer " + self.token.encode()):
            raise Refusal("UNAUTHENTICATED", "This server asks for a token: Authorization: Bearer TOKEN.")

    def record(
        self, wanted: Wanted, version: Version | None, api: str, entrypoint: str, status: str, since: float
    ) -> None:
        """Count an answered request, and tell of it."""
        seconds = time.monotonic() - since
        name = wanted.model if wanted.model == self.model.name else ""
        self.metrics.request(name, version.number if version else 0, api, entrypoint, status, seconds)
        if self.access is not None:
            self.access(f"{entrypoint} {api} {str(wanted)[:200]} {status} {seconds * 1e3:.1f} ms")

    def metrics_page(self) -> bytes:
        """What Prometheus reads."""
        self.metrics.waiting(self.model.name, self.model.waiting)
        return self.metrics.page()

    async def predict(self, version: Version, signature: str, inputs: Arrays) -> Arrays:
        """The outputs of a signature; raises Refusal."""
        with self.model.using(version):
            return await self.model.predict(version, signature, inputs)
