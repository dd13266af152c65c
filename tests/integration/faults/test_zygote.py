"""The facts on which forking replicas relies."""

from __future__ import annotations

import os
import subprocess
import sys

from workers.supervisor.process import NO_THREADS

PROBE = """
import os, sys
from workers.supervisor.zygote import preload
preload()
threads = len(os.listdir("/proc/self/task"))
links = [f"/proc/self/fd/{d}" for d in os.listdir("/proc/self/fd")]
devices = [os.readlink(link) for link in links if os.path.exists(link)]
from tensorflow.python.eager import context
print(threads, any("nvidia" in d for d in devices), context.context()._initialized, "ray" in sys.modules)
"""


def test_what_the_zygote_imports_starts_no_thread_and_opens_no_device() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROBE], env=os.environ | NO_THREADS, capture_output=True, text=True, timeout=300,
        check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["1", "False", "False", "False"]
