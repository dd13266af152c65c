"""`regatta watch --web`: what is served, to which requests, and when the page is made again."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.store import locks
from orchestrator.view.web import LivePage, WebView
from tests.unit.stored_runs import store_run

pytestmark = pytest.mark.unit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A comparison with one run that has ended and one that is under way."""
    store_run(tmp_path / "c", "sync", 0)
    store_run(tmp_path / "c", "async", 0, with_result=False)
    return tmp_path / "c"


@pytest.fixture
def server(folder: Path) -> Iterator[WebView]:
    with WebView(LivePage(folder)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def ask(server: WebView, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_the_page_and_its_version(server: WebView) -> None:
    status, page = ask(server, f"/{server.token}/")
    assert status == 200
    assert "connect-src &#x27;self&#x27;" in page
    assert ask(server, f"/{server.token}/version") == (200, page.partition('data-version="')[2].partition('"')[0])


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {}),
        ("/version", {}),
        ("/wrong/", {}),
        ("/{token}", {}),
        ("/{token}/../", {}),
        ("/{token}/spec.yaml", {}),
        ("/{token}/", {"Host": "evil.example"}),
        ("/{token}/", {"Host": "localhost"}),
    ],
)
def test_other_requests_learn_nothing(server: WebView, path: str, headers: dict[str, str]) -> None:
    status, text = ask(server, path.format(token=server.token), **headers)
    assert (status, server.token in text) == (404, False)


def test_nothing_can_be_written(server: WebView) -> None:
    assert {ask(server, f"/{server.token}/", method)[0] for method in ("POST", "PUT", "DELETE")} == {501}


def test_a_port_that_is_taken(server: WebView) -> None:
    with pytest.raises(UsageError, match=rf"--port {server.server_address[1]} cannot be used"):
        WebView(LivePage(Path()), server.server_address[1])


def test_the_page_is_made_again_when_more_was_measured_but_not_too_often(folder: Path) -> None:
    now = 0.0
    live = LivePage(folder, lambda: now)
    with locks.lock(folder / "runs" / "async-s0"):
        first = live.current()
        assert b"Training; 1 run ended. The verdict may change." in first[1]
        assert b"not yet" not in first[1]  # only a single run's page says how it ended
    store_run(folder, "async", 1)
    now = 4.0
    assert live.current() is first
    now = 6.0
    second = live.current()
    assert b"2 runs ended, and none is under way here." in second[1]
    now = 100.0
    assert live.current() is second


def test_a_single_run_under_way(folder: Path) -> None:
    run = folder / "runs" / "async-s0"
    with locks.lock(run):
        page = LivePage(run).current()[1]
    assert b"Training. Read at" in page
    assert b"<dd>not yet</dd>" in page


def test_before_anything_was_measured(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("job: digits\n")
    page = LivePage(tmp_path).current()[1]
    assert b"There is nothing to show yet" in page
    assert b"<main></main>" in page
