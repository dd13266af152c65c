"""Before attaching to a Ray cluster: is there one at the address, and does it let us in?

Ray asks the same, but takes 20 s to refuse a wrong token and over 200 s to find nobody there, and names neither
(measured with Ray 2.60). One gRPC call without content tells within milliseconds.
"""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path

from orchestrator.errors import ClusterError, UsageError

_SECONDS = 5.0
_CLIENT = "ray://"
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s/:\[\]]+):([0-9]{1,5})")
HOW_TO_GIVE_ONE = (
    "Put the cluster's token into the variable RAY_AUTH_TOKEN, or into the file ~/.ray/auth_token (or the one that "
    "RAY_AUTH_TOKEN_PATH names); `ray get-auth-token` on the head prints it."
)


class Answer(StrEnum):
    WELCOME = "welcome"
    NO_TOKEN = "no token"  # noqa: S105 - an answer
    SILENCE = "silence"


def check(address: str) -> None:
    """Make sure that Ray can attach to `address`, with the token if it asks for one; sets RAY_AUTH_MODE then.

    Raises:
        UsageError: it is not an address to attach to.
        ClusterError: nobody answers there, or the token is missing or wrong.
    """
    if address in ("auto", "local"):
        return
    place = parse(address)
    method = "/ray.rpc.RayletDriver/ClusterInfo" if address.startswith(_CLIENT) else _GCS_METHOD
    answer = _knock(place, method, None)
    if answer is Answer.NO_TOKEN:
        known = token()
        answer = _knock(place, method, known) if known else answer
        if answer is Answer.NO_TOKEN:
            raise ClusterError(
                f"The Ray cluster at {address} asks for a token, and {'refuses yours' if known else 'there is none'}. "
                + HOW_TO_GIVE_ONE
            )
        # `ray.init` with an address sends no token otherwise, even where there is one (Ray 2.60).
        os.environ["RAY_AUTH_MODE"] = "token"
    if answer is Answer.SILENCE:
        raise ClusterError(
            f"Nobody answers at {address}. `ray status` on the head says whether Ray is up; its port is 6379, and "
            "10001 for ray://, unless `ray start` was told otherwise. A firewall in between is silent as well."
        )


def check_dashboard(address: str) -> str:
    """The address of a Ray dashboard, checked as `check` does, in the form that Ray's client takes."""
    import requests

    url = address if "://" in address else f"http://{address}"
    if not re.fullmatch(r"https?://[^\s/]+/?", url) or url.endswith((":6379", ":10001")):
        raise UsageError(f"address: {address!r} is not allowed: give the dashboard's, http://HOST:8265")
    url = url.rstrip("/")

    def status(known: str | None) -> int:
        headers = {"Authorization": f"Bearer {known}"} if known else {}
        try:
            return int(requests.get(f"{url}/api/version", headers=headers, timeout=_SECONDS).status_code)
        except requests.RequestException as error:
            raise ClusterError(
                f"Nobody answers at {url} ({type(error).__name__}). The dashboard listens on the head's port 8265, and "
                "only to the head itself unless `ray start` was given --dashboard-host=0.0.0.0; it needs ray[default]."
            ) from error

    if status(None) in (401, 403):
        known = token()
        if known is None or status(known) in (401, 403):
            raise ClusterError(
                f"The Ray cluster at {url} asks for a token, and {'refuses yours' if known else 'there is none'}. "
                + HOW_TO_GIVE_ONE
            )
        os.environ["RAY_AUTH_MODE"] = "token"
    return url


_GCS_METHOD = "/ray.rpc.NodeInfoGcsService/GetClusterId"


def parse(address: str) -> str:
    """`host:port` in an address to attach to."""
    match = _HOST_AND_PORT.fullmatch(address.removeprefix(_CLIENT))
    if match and int(match[2]) < 1 << 16:
        return match[0]
    ways = "auto, HOST:6379 (from a machine of the cluster) or ray://HOST:10001 (from any)"
    if address.startswith(("http://", "https://")):
        ways += "; http:// is for `regatta submit`"
    raise UsageError(f"address: {address!r} is not allowed: give {ways}")


def token_path() -> Path:
    """The file Ray takes its token from when RAY_AUTH_TOKEN holds none."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def token() -> str | None:
    """The token Ray would take here: the variable, the file it names, or `~/.ray/auth_token`."""
    if given := os.environ.get("RAY_AUTH_TOKEN"):
        return given
    try:
        return token_path().read_text().strip() or None
    except (OSError, ValueError):
        return None


def _knock(place: str, method: str, known: str | None) -> Answer:
    import grpc

    metadata = (("authorization", f"Bearer {known}"),) if known else ()
    with grpc.insecure_channel(place, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(method)(b"", metadata=metadata, timeout=_SECONDS)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                return Answer.NO_TOKEN
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return Answer.SILENCE
    return Answer.WELCOME
