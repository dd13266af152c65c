"""`SubmittedPage`: the page of a submitted run is fetched again, but not too often, and outlives a lost cluster."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from orchestrator.errors import ClusterError
from orchestrator.submit.submitted_page import PAGE, SECONDS_BETWEEN, VERSION, SubmittedPage

pytestmark = pytest.mark.unit


class Cluster:
    """Sends a page that counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.lost = False
        self.now = 0.0

    def fetch(self) -> Mapping[str, bytes]:
        self.asked += 1
        if self.lost:
            raise ClusterError("The connection was lost.")
        return {PAGE: b"page %d" % self.asked, VERSION: b"%d" % self.asked}


def test_it_is_fetched_again_but_not_too_often() -> None:
    cluster = Cluster()
    page = SubmittedPage(cluster.fetch, lambda: cluster.now)
    for _ in range(3):
        assert page.current() == ("1", b"page 1")
    assert cluster.asked == 1
    cluster.now = SECONDS_BETWEEN
    assert page.current() == ("1", b"page 1")  # at once, while the next is fetched
    page._fetching.join(60)  # type: ignore[union-attr]
    assert page.current() == ("2", b"page 2")
    assert cluster.asked == 2


def test_a_lost_cluster_leaves_the_page_as_it_was() -> None:
    cluster = Cluster()
    page = SubmittedPage(cluster.fetch, lambda: cluster.now)
    cluster.lost, cluster.now = True, SECONDS_BETWEEN
    page.current()
    page._fetching.join(60)  # type: ignore[union-attr]
    assert page.current() == ("1", b"page 1")
    assert cluster.asked == 2  # and the next try has to wait again


def test_what_is_no_page_is_refused() -> None:
    with pytest.raises(ClusterError, match="same version of Regatta"):
        SubmittedPage(lambda: {"result.json": b""})
