"""Checks, before attaching, that a Ray cluster answers at an address and accepts the token that is for it.

Ray itself takes 20 s to report a wrong token and over 200 s to report that no cluster answers, and its messages name
neither cause (measured with Ray 2.60). One empty gRPC call tells within milliseconds.
"""

from __future__ import annotations

import os
import re
from enum import Enum, auto
from urllib.parse import urlsplit

from orchestrator.cluster import discovery, token
from orchestrator.errors import ClusterError, UsageError
from orchestrator.spec import trust
from workers.addresses import split

_SECONDS = 5.0
_CLIENT = "ray://"
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s/:\[\]]+):([0-9]{1,5})")


class _Answer(Enum):
    ACCEPTED = auto()
    UNAUTHENTICATED = auto()
    NONE = auto()


def check(address: str) -> str:
    """Make sure that Ray can attach to `address`; if the cluster requires a token, sets RAY_AUTH_MODE.

    Returns the address, which `auto` is no more.

    Raises:
        UsageError: `address` is not one that Ray can attach to.
        ClusterError: no cluster answers there, or the token is missing or wrong.
    """
    searched = address == "auto" and discovery.named() is None
    if address == "auto":
        address = discovery.named() or discovery.search()
    endpoint = parse(address)
    host = split(endpoint)[0]
    method = "/ray.rpc.RayletDriver/ClusterInfo" if address.startswith(_CLIENT) else _GCS_METHOD
    answer = _probe(endpoint, method, None)
    if answer is _Answer.UNAUTHENTICATED:
        known = token.token_for(host)
        answer = _probe(endpoint, method, known) if known else answer
        if answer is _Answer.UNAUTHENTICATED:
            raise ClusterError(_token_problem(address, known))
        if known:
            trust.bind_token(known, token.name_of(host))
        # Otherwise `ray.init` with an address sends no token, even if there is one (Ray 2.60).
        os.environ["RAY_AUTH_MODE"] = "token"
    elif answer is _Answer.ACCEPTED:
        token.refuse_open(host, address, searched=searched)
    if answer is _Answer.NONE:
        raise ClusterError(
            f"No Ray cluster answers at {address}. `ray status` on the head shows whether Ray is up; its port is 6379, "
            "or 10001 for ray://, unless `ray start` was given another. A firewall in between looks the same."
        )
    if not address.startswith(_CLIENT):
        discovery.check_sockets(endpoint)
    return address


def check_dashboard(address: str) -> str:
    """Check the address of a Ray dashboard as `check` does; returns it in the form that Ray's client expects."""
    import requests

    url = address if "://" in address else f"http://{address}"
    if not re.fullmatch(r"https?://[^\s/]+/?", url) or url.endswith((":6379", ":10001")):
        raise UsageError(f"address: {address!r} is not allowed: give the dashboard's address, http://HOST:8265")
    url = url.rstrip("/")

    def status(known: str | None) -> int:
        headers = {"Authorization": f"Bearer {known}"} if known else {}
        try:
            with requests.get(
                f"{url}/api/version", headers=headers, timeout=_SECONDS, stream=True, allow_redirects=False
            ) as answer:  # whose content may have no end
                return int(answer.status_code)
        except requests.RequestException as error:
            raise ClusterError(
                f"No Ray dashboard answers at {url} ({type(error).__name__}). It listens on the head's port 8265, "
                "and only on localhost unless `ray start` was given --dashboard-host=0.0.0.0; it needs ray[default]."
            ) from error

    host = urlsplit(url).hostname or ""
    if status(None) in (401, 403):
        known = token.token_for(host)
        if known is None or status(known) in (401, 403):
            raise ClusterError(_token_problem(url, known))
        trust.bind_token(known, token.name_of(host))
        os.environ["RAY_AUTH_MODE"] = "token"
    else:
        token.refuse_open(host, url)
    return url


_GCS_METHOD = "/ray.rpc.NodeInfoGcsService/GetClusterId"


def parse(address: str) -> str:
    """`host:port` of an address to attach to; raises UsageError if it is not one."""
    match = _HOST_AND_PORT.fullmatch(address.removeprefix(_CLIENT))
    if match and int(match[2]) < 1 << 16:
        return match[0]
    allowed = "auto, HOST:6379 (from a machine of the cluster) or ray://HOST:10001 (from any machine)"
    if address.startswith(("http://", "https://")):
        allowed += "; http:// is for `regatta submit`"
    raise UsageError(f"address: {address!r} is not allowed: give {allowed}")


def _token_problem(address: str, known: str | None) -> str:
    problem = "rejects yours" if known else "you have none"
    return (
        f"The Ray cluster at {address} requires a token, and {problem}. Put the cluster's token into the variable "
        "RAY_AUTH_TOKEN, or into the file ~/.ray/auth_token (or the file that RAY_AUTH_TOKEN_PATH names); "
        "`ray get-auth-token` on the head prints it."
    )


def _probe(endpoint: str, method: str, known: str | None) -> _Answer:
    import grpc

    metadata = (("authorization", f"Bearer {known}"),) if known else ()
    with grpc.insecure_channel(endpoint, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(method)(b"", metadata=metadata, timeout=_SECONDS)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                return _Answer.UNAUTHENTICATED
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return _Answer.NONE
    return _Answer.ACCEPTED
