"""The bound on how far a worker is ahead, driven by threads and by hand."""

from __future__ import annotations

import threading
import time

import pytest

from workers.modes.bound import Bound

pytestmark = pytest.mark.unit


def test_a_worker_takes_what_the_bound_leaves() -> None:
    bound = Bound(2, ahead=2)
    bound.begin(10)
    bound.offer(total=100, most=8)
    assert bound.take(0) == 3
    bound.completed(0, 3)
    assert bound.take(1) == 3
    bound.completed(1, 2)
    assert bound.take(0) == 2  # worker 1 is at 2


@pytest.mark.parametrize(("event", "steps"), [("completed", 1), ("lost", 1), ("close", 0), ("last", 0)])
def test_a_waiting_worker_is_woken(event: str, steps: int) -> None:
    bound = Bound(2, ahead=0)
    bound.offer(total=3, most=1)
    assert bound.take(0) == bound.take(1) == 1
    bound.completed(0, 1)
    taken: list[int] = []
    thread = threading.Thread(target=lambda: taken.append(bound.take(0)), daemon=True)
    thread.start()  # worker 0 is one step ahead
    match event:
        case "completed":
            bound.completed(1, 1)
        case "lost":
            bound.lost(1, 0)
        case "close":
            bound.close()
        case "last":
            bound.offer(total=2, most=1)
    thread.join(30)
    assert taken == [steps]


def test_a_lost_worker_holds_up_none_and_returns_beside_the_slowest() -> None:
    bound = Bound(3, ahead=0)
    bound.offer(total=10, most=1)
    assert [bound.take(worker) for worker in range(3)] == [1, 1, 1]
    bound.lost(2, 1)
    for _ in range(2):
        for worker in (0, 1):
            bound.completed(worker, 1)
        assert bound.take(0) == bound.take(1) == 1
    assert bound.take(2) == 1  # it is at 2, as the slowest
    assert bound.has_steps


@pytest.mark.parametrize("ahead", [0, 3])
def test_all_steps_are_taken_once_by_workers_of_any_speed(ahead: int) -> None:
    bound, total, workers = Bound(4, ahead), 200, 4
    bound.offer(total, most=5)
    done, most_ahead, lock = [0] * workers, [0], threading.Lock()

    def work(worker: int) -> None:
        while steps := bound.take(worker):
            for _ in range(steps):
                time.sleep(0.0002 * (worker + 1))
                with lock:
                    most_ahead[0] = max(most_ahead[0], done[worker] - min(done))
                    done[worker] += 1
            bound.completed(worker, steps)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(done) == total
    assert not bound.has_steps
    assert most_ahead[0] <= ahead
