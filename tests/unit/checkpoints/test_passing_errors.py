"""A storage that fails for a moment: it is asked again, and nothing good counts as damaged."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.unit.checkpoints.snapshots import ABOUT, a_snapshot
from workers.checkpoints.retries import WAITS, PatientStorage
from workers.checkpoints.storage import LocalStorage
from workers.checkpoints.store import CheckpointStore

pytestmark = pytest.mark.unit


class Failing(LocalStorage):
    """Raises the next of `errors` whenever a file is read, as long as there are any."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.errors: list[OSError] = []

    def read(self, name: str, limit: int) -> bytes | None:
        if self.errors:
            raise self.errors.pop(0)
        return super().read(name, limit)

    def put(self, name: str, data: bytes) -> None:
        if self.errors:
            raise self.errors.pop(0)
        super().put(name, data)


PASSING = [OSError(errno.EIO, "I/O"), OSError(errno.ESTALE, "stale"), OSError("AWS Error SLOW_DOWN: 503")]


@pytest.fixture
def failing(tmp_path: Path) -> Failing:
    return Failing(tmp_path / "checkpoints")


@pytest.fixture
def store(failing: Failing) -> CheckpointStore:
    waited: list[float] = []
    return CheckpointStore(PatientStorage(failing, waited.append), "run")


@pytest.mark.parametrize("error", PASSING, ids=str)
@pytest.mark.parametrize("times", [1, len(WAITS)])
def test_the_newest_checkpoint_is_taken_in_spite_of_it(
    store: CheckpointStore, failing: Failing, error: OSError, times: int
) -> None:
    store.claim(1)
    for step in (10, 20):
        store.write(a_snapshot(step), 1, ABOUT)
    failing.errors = [error] * times
    found = store.latest()
    assert found.checkpoint is not None
    assert found.checkpoint.manifest.step == 20
    assert found.passed_over == ()


@pytest.mark.parametrize("error", PASSING, ids=str)
def test_an_error_that_stays_is_no_damage(store: CheckpointStore, failing: Failing, error: OSError) -> None:
    store.claim(1)
    store.write(a_snapshot(10), 1, ABOUT)
    failing.errors = [error] * 100
    with pytest.raises(OSError, match=str(error.args[-1])):
        store.latest()


def test_a_claim_survives_a_busy_store(store: CheckpointStore, failing: Failing) -> None:
    failing.errors = [OSError("503")] * 3
    store.claim(1)
    assert store.attempt() == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EISDIR])
def test_what_lasts_is_said_at_once(failing: Failing, number: int) -> None:
    waited: list[float] = []
    failing.errors = [OSError(number, "no")] * 100
    with pytest.raises(OSError, match="no"):
        PatientStorage(failing, waited.append).read("name", 10)
    assert waited == []
