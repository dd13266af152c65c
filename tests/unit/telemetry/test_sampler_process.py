"""The sampler in a process of its own, in which the loader finds NVML, a blocked NVML or none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.unit.telemetry.nvml_world import TWO_GPUS, B

SCRIPT = """
import dataclasses, json, os, sys, time
from workers.telemetry.sampler import Sampler
gpu_timeout, wanted = sys.argv[1:]
sampler = Sampler(os.getpid, interval=0.05, blocked_after=0.1, gpu_timeout=float(gpu_timeout))
sampler.start()
samples = ()
deadline = time.monotonic() + 60
while time.monotonic() < deadline and not (len(samples) > 2 and wanted in repr(samples[-1])):
    time.sleep(0.01)
    samples += sampler.drain()
sampler.stop()
print(json.dumps([dataclasses.asdict(sample) for sample in samples]))
"""


def run(environment: dict[str, str], gpu_timeout: float, wanted: str) -> list[dict[str, Any]]:
    """The samples of a separate process, up to the first that contains `wanted`."""
    command = [sys.executable, "-c", SCRIPT, str(gpu_timeout), wanted]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=True)
    assert answer.stderr == ""
    samples: list[dict[str, Any]] = json.loads(answer.stdout)
    return samples


def test_a_whole_process_finds_the_library_as_a_replica_does(
    nvml_environment: Callable[[str], dict[str, str]],
) -> None:
    """pynvml is not patched here: the loader finds `libnvidia-ml.so.1`."""
    environment = nvml_environment(TWO_GPUS)
    last = run({**environment, "CUDA_VISIBLE_DEVICES": "GPU-aabb"}, gpu_timeout=2.0, wanted=B)[-1]
    assert [(gpu["uuid"], gpu["power_watts"]) for gpu in last["gpus"]] == [(B, 71.0)]
    assert isinstance(last["rss_bytes"], int)


def test_a_process_with_blocked_nvml_keeps_sampling_and_ends(
    nvml_environment: Callable[[str], dict[str, str]],
) -> None:
    environment = nvml_environment(f"{TWO_GPUS}block.nvmlDeviceGetUtilizationRates=1\n")
    blocked = "GPU: NVML call blocked for more than 0.1 s"
    samples = run(environment, gpu_timeout=0.01, wanted=blocked)
    assert blocked in samples[-1]["notes"]
    assert all(sample["host_memory_percent"] is not None for sample in samples)


def test_a_process_without_the_library_says_so(
    nvml_environment: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    """The loader refuses this file, which hides a real NVML if the machine has one."""
    broken = tmp_path / "libnvidia-ml.so.1"
    broken.write_bytes(b"")
    environment = {**nvml_environment(TWO_GPUS), "LD_LIBRARY_PATH": str(tmp_path)}
    samples = run(environment, gpu_timeout=1.0, wanted="not available")
    assert "GPU: not available (NVML library not found)" in samples[-1]["notes"]
    assert all(sample["gpus"] == [] for sample in samples)
