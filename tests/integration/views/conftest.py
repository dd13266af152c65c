"""One browser for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration import chromium_pipe
from tests.integration.chromium_pipe import Chromium


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    program = chromium_pipe.find()
    if program is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    started = Chromium(program, tmp_path_factory.mktemp("profile"))
    yield started
    started.close()
