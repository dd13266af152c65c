"""GPU readings compared with nvidia-smi's, if there is a GPU."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from workers.telemetry.gpu import GpuReader

pytestmark = pytest.mark.unit


def smi(query: str) -> list[list[str]]:
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    return [[cell.strip() for cell in line.split(",")] for line in lines.splitlines()]


@pytest.mark.gpu
def test_values_are_those_of_nvidia_smi() -> None:
    if shutil.which("nvidia-smi") is None:
        pytest.skip("no NVIDIA GPU: nvidia-smi is not on PATH")
    try:
        rows = smi("uuid,name,memory.total,memory.used,temperature.gpu,power.draw,mig.mode.current")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no NVIDIA GPU: nvidia-smi says {error.stdout.strip() or error.stderr.strip()}")
    if any(row[-1] == "Enabled" for row in rows):
        pytest.skip("a GPU is split by MIG; nvidia-smi's query shows only whole GPUs")
    reader = GpuReader({})
    reading = reader.read({os.getpid()})
    reader.close()
    assert [sample.uuid for sample in reading.gpus] == [row[0] for row in rows], reading.notes
    for sample, (_, name, total, used, temperature, power, _) in zip(reading.gpus, rows, strict=True):
        assert sample.name == name
        assert sample.memory_total_bytes is not None
        assert sample.memory_used_bytes is not None
        assert sample.memory_total_bytes >> 20 == int(total)
        assert abs((sample.memory_used_bytes >> 20) - int(used)) < 64
        if temperature.isdigit():
            assert sample.temperature_celsius == pytest.approx(int(temperature), abs=5)
        if power.replace(".", "").isdigit():
            assert sample.power_watts == pytest.approx(float(power), rel=0.5)
        assert sample.utilization_percent is None or 0 <= sample.utilization_percent <= 100
