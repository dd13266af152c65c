"""One zygote for the whole session of integration tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.local_runs import SESSION
from workers.supervisor.process import start_zygote


@pytest.fixture(scope="session", autouse=True)
def zygote() -> Iterator[None]:
    connection = start_zygote(SESSION)
    yield
    connection.close()
