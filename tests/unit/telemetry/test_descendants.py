"""Descendants of a process are those that psutil finds by reading every process of the host."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from workers.telemetry import descendants as module
from workers.telemetry.descendants import descendants, newest_pid

pytestmark = pytest.mark.unit

PARENT = """
import subprocess, sys, threading, time
subprocess.Popen(["sleep", "60"])
threading.Thread(target=subprocess.Popen, args=(["sh", "-c", "sleep 60 & wait"],)).start()  # a child of a thread
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    deadline = time.monotonic() + 60
    while len(psutil.Process(process.pid).children(recursive=True)) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    yield process
    for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()
    process.kill()
    process.wait()


def by_psutil(pid: int) -> set[int]:
    return {child.pid for child in psutil.Process(pid).children(recursive=True)}


def test_children_of_all_threads_and_their_children(parent: subprocess.Popen[str]) -> None:
    assert descendants(parent.pid) == by_psutil(parent.pid)
    assert len(descendants(parent.pid)) == 3


def test_a_kernel_without_lists_of_children(parent: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, flags: int) -> int:
        raise FileNotFoundError(path)

    monkeypatch.setattr(module.os, "open", refuse)
    assert descendants(parent.pid) == by_psutil(parent.pid)


def test_a_process_without_children_or_that_has_ended() -> None:
    process = subprocess.Popen(["sleep", "60"])
    assert descendants(process.pid) == set()
    process.kill()
    process.wait()
    assert descendants(process.pid) == set()


def test_threads_and_children_that_come_and_go() -> None:
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            subprocess.run(["true"], check=True)

    threads = [threading.Thread(target=churn) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            descendants(os.getpid())
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_the_newest_pid_changes_when_a_process_starts() -> None:
    before = newest_pid()
    assert before is not None
    subprocess.run(["true"], check=True)
    assert newest_pid() != before
