"""Workers that give one gradient for each version of the weights, driven by threads and by hand."""

from __future__ import annotations

import threading

import pytest

from workers.modes.versions import Versions

pytestmark = pytest.mark.unit


def waiting(versions: Versions, worker: int) -> tuple[threading.Thread, list[int]]:
    taken: list[int] = []
    thread = threading.Thread(target=lambda: taken.append(versions.take(worker)), daemon=True)
    thread.start()
    return thread, taken


def test_a_worker_gives_one_gradient_for_each_version() -> None:
    versions = Versions(3, wanted=2)
    versions.offer(total=100, most=8)
    assert [versions.take(worker) for worker in range(3)] == [1, 1, 1]
    versions.completed(0, read=0, kept=1)
    thread, taken = waiting(versions, 0)
    thread.join(0.1)
    assert thread.is_alive()
    versions.completed(1, read=0, kept=2)  # the second of two: there is another version
    thread.join(30)
    assert taken == [1]
    assert versions.take(1) == 1
    versions.completed(2, read=0, kept=2)  # too late, so that it was dropped
    assert versions.take(2) == 1


@pytest.mark.parametrize(("event", "steps"), [("completed", 1), ("learn", 1), ("lost", 1), ("close", 0), ("last", 0)])
def test_a_waiting_worker_is_woken(event: str, steps: int) -> None:
    versions = Versions(3, wanted=2)
    versions.offer(total=4, most=1)
    for worker in range(3):
        versions.take(worker)
    versions.completed(0, read=0, kept=1)
    thread, taken = waiting(versions, 0)
    match event:
        case "completed":
            versions.completed(1, read=0, kept=2)
        case "learn":
            versions.learn(2)
        case "lost":
            versions.lost(0, 0)
        case "close":
            versions.close()
        case "last":
            versions.offer(total=3, most=1)
    thread.join(30)
    assert taken == [steps]


def test_a_lost_worker_gives_its_step_back() -> None:
    versions = Versions(2, wanted=1)
    versions.offer(total=2, most=1)
    assert versions.take(0) == versions.take(1) == 1
    assert not versions.has_steps
    versions.lost(1, 1)
    assert versions.has_steps
    versions.begin(10)
    assert not versions.has_steps
