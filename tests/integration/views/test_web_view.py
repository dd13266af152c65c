"""`regatta watch --web` in a real browser: the page follows the run, and keeps what its reader chose."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.integration.chromium_pipe import Chromium
from tests.unit.stored_runs import store_run


def test_the_page_follows_a_comparison(browser: Chromium, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    store_run(folder, "sync", 0)
    command = [
        sys.executable,
        "-P",
        "-c",
        "from orchestrator.cli.main import main; main()",
        "watch",
        str(folder),
        "--web",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
    ) as watching:
        assert watching.stdout is not None
        try:
            said = watching.stdout.readline()
            address = re.search(r"http://127\.0\.0\.1:\d+/[\w-]+/", said)
            assert address is not None, said
            browser.open(address[0], 1280)
            browser.evaluate("document.querySelector('.switch [data-key=updates]').click()")
            browser.evaluate("document.querySelector('.scale button').click()")
            pressed = browser.evaluate(
                "[...document.querySelectorAll('main [aria-pressed=true]')].map(b => b.textContent)"
            )
            store_run(folder, "async", 0)
            deadline = time.monotonic() + 120
            while "async" not in browser.evaluate("document.querySelector('h1').textContent + document.body.innerText"):
                assert time.monotonic() < deadline, "the page did not follow"
                time.sleep(0.5)
            browser.settle()
            for chosen in pressed:
                assert chosen in browser.evaluate(
                    "[...document.querySelectorAll('main [aria-pressed=true]')].map(b => b.textContent)"
                )
            assert browser.evaluate("document.querySelectorAll('.js-plotly-plot').length") > 0
            assert all(request.startswith(address[0]) for request in browser.requests)
            assert browser.complaints == []
        finally:
            watching.send_signal(signal.SIGINT)
            rest = watching.communicate(timeout=60)[0]
        assert "no longer watching; the run continues" in rest
        assert watching.returncode == 130
