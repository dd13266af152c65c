"""Checking that a Ray cluster answers and accepts our token, against a gRPC server that imitates one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster import access, discovery, token
from orchestrator.errors import ClusterError, UsageError
from orchestrator.spec import trust

pytestmark = pytest.mark.unit


@pytest.fixture
def received() -> list[str]:
    """Tokens that the server was sent."""
    return []


@pytest.fixture
def cluster(received: list[str]) -> Iterator[str]:
    """Address of a server that requires the token `right` for every call."""
    import grpc

    class Guard(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            sent = dict(details.invocation_metadata).get("authorization")
            received.extend([sent] if sent else [])
            allowed = sent == "Bearer right"

            def answer(_request: bytes, context: Any) -> bytes:
                if not allowed:
                    context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
                return b""

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Guard()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


@pytest.fixture
def open_cluster() -> Iterator[str]:
    """Address of a server that anyone may call."""
    import grpc

    class Open(grpc.GenericRpcHandler):
        def service(self, _details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Open()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_token_is_used_only_where_it_is_required(cluster: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match=r"requires a token, and you have none\. .*RAY_AUTH_TOKEN"):
        access.check(scheme + cluster)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    with pytest.raises(ClusterError, match="rejects yours"):
        access.check(scheme + cluster)
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "right")
    access.check(scheme + cluster)
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_the_token_of_home_goes_only_where_it_belongs(
    cluster: str, received: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server stands for a stranger's: it says UNAUTHENTICATED to be sent a token."""
    monkeypatch.setattr(token, "_is_here", lambda _host: False)
    token.require_token()  # as a local run does
    with pytest.raises(ClusterError, match=r"for localhost and was not sent\. Put the token of this cluster into"):
        access.check(cluster)
    assert received == []
    (tmp_path / ".ray" / "auth_token").write_text("right")  # the user's own, for another cluster
    trust.bind_token("right", "10.1.1.1")
    with pytest.raises(ClusterError, match=r"for 10\.1\.1\.1 and was not sent"):
        access.check(cluster)
    assert received == []
    trust.bind_token("right", "127.0.0.1")
    access.check(cluster)
    assert received == ["Bearer right"]


def test_a_token_is_for_the_first_cluster_that_accepts_it(
    cluster: str, received: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("right")
    assert trust.token_hosts("right") == []
    access.check(cluster)
    assert trust.token_hosts("right") == [token.HERE]
    monkeypatch.setattr(token, "_is_here", lambda _host: False)
    with pytest.raises(ClusterError, match="was not sent"):
        access.check(cluster)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "right")  # given for this command
    access.check(cluster)
    assert trust.token_hosts("right") == [token.HERE, "127.0.0.1"]
    assert len(received) == 2


def test_a_cluster_that_asks_for_no_token_any_more(open_cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert access.check(open_cluster) == open_cluster
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    access.check(open_cluster)  # on this host an address is as good as a name
    monkeypatch.setattr(token, "_is_here", lambda _host: False)
    access.check(open_cluster)
    trust.bind_token("mine", "127.0.0.1")
    with pytest.raises(ClusterError, match="asks for no token, though it did before"):
        access.check(open_cluster)


def test_auto_refuses_an_open_cluster_when_there_is_a_token(open_cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(discovery, "search", lambda: open_cluster)
    assert access.check("auto") == open_cluster
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    with pytest.raises(ClusterError, match=f"or join it regardless with --address {open_cluster}"):
        access.check("auto")
    assert access.check(open_cluster) == open_cluster
    monkeypatch.setenv("RAY_ADDRESS", open_cluster)
    assert access.check("auto") == open_cluster


def test_no_cluster_answers() -> None:
    with pytest.raises(ClusterError, match=r"No Ray cluster answers at 127\.0\.0\.1:1"):
        access.check("127.0.0.1:1")


def test_where_tokens_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert token.token() is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("of home\n")
    assert token.token() == "of home"
    (tmp_path / "named").write_text("of a file")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "named"))
    assert token.token() == "of a file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of the variable")
    assert token.token() == "of the variable"


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [("host:6379", "host:6379"), ("ray://10.0.0.1:10001", "10.0.0.1:10001"), ("[fd00::1]:6379", "[fd00::1]:6379")],
)
def test_addresses(address: str, endpoint: str) -> None:
    assert access.parse(address) == endpoint


@pytest.mark.parametrize(
    "address", ["", "host", "host:99999", "http://host:8265", "ray://host", "a b:1", "host:1/x", "::1:2"]
)
def test_invalid_addresses(address: str) -> None:
    with pytest.raises(UsageError, match=r"^address: .*ray://HOST:10001"):
        access.parse(address)
