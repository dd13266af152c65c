"""Metrics on a disk that is full: bounded memory, and a count of what did not fit. SQLite says that it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.store import metrics
from orchestrator.store.metrics import Metrics, MetricsWriter
from tests.made import status
from workers.messages import Task
from workers.news import StepBatch

pytestmark = pytest.mark.unit

MOST = 500


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MetricsWriter:
    monkeypatch.setattr(metrics, "MOST_ROWS", MOST)
    made = MetricsWriter(tmp_path)
    made._db.execute("PRAGMA max_page_count = 9")  # the tables are there, and nothing more fits
    return made


def trained(first: int, steps: int = 10) -> StepBatch:
    numbers = np.arange(first, first + steps)
    return StepBatch("r", 0, numbers, numbers / 10.0, np.full(steps, 0.5), None, 0.1, {"loss": 0.5})


def fill(writer: MetricsWriter, batches: int) -> None:
    for number in range(batches):
        writer.add(1, status(Task("worker", 0), trained(1 + 10 * number)))
        writer.commit()


def test_rows_wait_in_bounded_memory_and_the_others_are_counted(tmp_path: Path, writer: MetricsWriter) -> None:
    fill(writer, 1000)
    assert writer.problem is not None
    assert "metrics.db cannot be written (database or disk is full; " in writer.problem
    assert "bytes are free" in writer.problem
    assert writer._rows_waiting <= MOST
    assert sum(len(rows) for _, rows in writer._waiting) == writer._rows_waiting
    writer.close()
    found = Metrics(tmp_path)
    stored = sum(found.column(f"SELECT COUNT(*) FROM {table}")[0] for table in metrics.TABLES)
    found.close()
    assert writer.dropped > 1000
    assert writer.dropped + stored == 1000 * 11 + 1, "of each batch its steps and its call, and the task's state"


def test_what_waits_is_written_when_there_is_room(tmp_path: Path, writer: MetricsWriter) -> None:
    fill(writer, 20)
    for number in range(5):
        writer.event(1, "note", number=number)
    writer._db.execute("PRAGMA max_page_count = 100000")
    writer.commit()
    assert (writer.problem, writer.dropped) == (None, 0)
    writer.close()
    found = Metrics(tmp_path)
    assert found.rows("SELECT COUNT(*), MIN(step), MAX(step) FROM steps") == [(200, 1, 200)]
    assert found.rows("SELECT COUNT(*) FROM events") == [(5,)]
    found.close()


def test_events_are_kept_before_measurements(tmp_path: Path, writer: MetricsWriter) -> None:
    """A run without its failures and checkpoints could not be understood, or resumed."""
    fill(writer, 1000)
    writer.event(1, "failure", text="x")
    writer._db.execute("PRAGMA max_page_count = 100000")
    writer.commit()
    writer.close()
    found = Metrics(tmp_path)
    assert found.rows("SELECT kind FROM events") == [("failure",)]
    found.close()
