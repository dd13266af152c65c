"""Failures of NVML as a whole, of one GPU and of one value: each is named, and the rest is still measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.telemetry.nvml_world import CODES, FIRST, H100, SECOND, TWO_GPUS, A, StandIn, read
from workers.news import GpuSample
from workers.telemetry.gpu import STATES, GpuReader, GpuReading

pytestmark = pytest.mark.unit

VALUES = {
    "nvmlDeviceGetUtilizationRates": ("utilization", ["utilization_percent"]),
    "nvmlDeviceGetMemoryInfo_v2": ("memory", ["memory_used_bytes", "memory_total_bytes"]),
    "nvmlDeviceGetComputeRunningProcesses_v3": ("process memory", ["process_memory_bytes"]),
    "nvmlDeviceGetPowerUsage": ("power", ["power_watts"]),
    "nvmlDeviceGetTemperatureV": ("temperature", ["temperature_celsius"]),
}
ONE_VALUE_FAILS = [
    (function, code)
    for function in VALUES
    for code in CODES
    # A lost GPU, and a driver with only the older temperature call, have tests of their own.
    if code != 15 and (function, code) != ("nvmlDeviceGetTemperatureV", 13)
]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("function", ["nvmlInitWithFlags", "nvmlDeviceGetCount_v2"])
def test_a_failure_of_the_whole_library(stand_in: StandIn, function: str, code: int) -> None:
    stand_in.play(f"{TWO_GPUS}error.{function}={code}\n")
    assert read() == GpuReading((), (f"GPU: not available ({STATES[code]})",))


def test_no_gpu_and_no_driver_have_names(stand_in: StandIn) -> None:
    stand_in.play("devices=0\n")
    assert read().notes == ("GPU: not available (no NVIDIA GPU on this host)",)
    stand_in.play(f"{TWO_GPUS}error.nvmlInitWithFlags=9\n")
    assert read().notes == ("GPU: not available (NVIDIA driver not loaded)",)
    stand_in.play(f"{TWO_GPUS}error.nvmlInitWithFlags=18\n")
    assert read().notes == ("GPU: not available (driver and NVML library versions differ)",)


@pytest.mark.parametrize(("function", "code"), ONE_VALUE_FAILS)
def test_one_value_that_fails_leaves_the_others(stand_in: StandIn, function: str, code: int) -> None:
    stand_in.play(f"{TWO_GPUS}gpu1.error.{function}={code}\n")
    name, fields = VALUES[function]
    reading = read()
    lost, kept = reading.gpus[1], {f for f in GpuSample.__dataclass_fields__ if f not in fields}
    assert reading.gpus[0] == FIRST
    assert [getattr(lost, field) for field in fields] == [None] * len(fields)
    assert all(getattr(lost, field) == getattr(SECOND, field) for field in kept)
    assert reading.notes == (f"GPU 1: {name}: {STATES[code]}",)


@pytest.mark.parametrize("code", [15, 16])
@pytest.mark.parametrize("function", VALUES)
def test_a_lost_gpu_keeps_the_others(stand_in: StandIn, function: str, code: int) -> None:
    stand_in.play(f"{TWO_GPUS}gpu0.error.{function}={code}\n")
    reading = read()
    assert reading.gpus == (GpuSample(A, H100, None, None, None, None, None, None), SECOND)
    assert reading.notes == (f"GPU 0: {STATES[code]}",)


def test_a_gpu_lost_during_a_run_is_read_only_once_per_sample(stand_in: StandIn) -> None:
    reader = GpuReader({}, host_pids=True)
    assert reader.read({4242, 4243}).gpus == (FIRST, SECOND)
    before = len(stand_in.calls())
    stand_in.play(f"{TWO_GPUS}gpu0.error=15\n")
    assert reader.read({1}).notes == ("GPU 0: GPU is lost",)
    assert len(stand_in.calls()) - before == 1 + len(VALUES)
    stand_in.play(TWO_GPUS)
    assert reader.read({4242, 4243}).gpus == (FIRST, SECOND)
    reader.close()


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("function", ["nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID"])
def test_a_gpu_that_cannot_be_opened_keeps_the_others(stand_in: StandIn, function: str, code: int) -> None:
    stand_in.play(f"{TWO_GPUS}gpu0.error.{function}={code}\n")
    assert read({"CUDA_VISIBLE_DEVICES": "0,1"}) == GpuReading((SECOND,), (f"GPU 0: {STATES[code]}",))


def test_a_name_that_cannot_be_read_is_a_note_in_every_sample(stand_in: StandIn) -> None:
    stand_in.play(f"{TWO_GPUS}gpu1.error.nvmlDeviceGetName=3\n")
    reader = GpuReader({}, host_pids=True)
    for _ in range(2):
        reading = reader.read(())
        assert [sample.name for sample in reading.gpus] == [H100, None]
        assert "GPU 1: name: not supported" in reading.notes
    reader.close()


def test_a_driver_without_the_functions(
    stand_in: StandIn, compile_nvml: Callable[..., Path], load_nvml: Callable[[Path], None]
) -> None:
    missing = [function for function in VALUES if function != "nvmlDeviceGetTemperatureV"]
    load_nvml(compile_nvml(*missing))
    reading = read()
    assert reading.gpus[0] == GpuSample(A, H100, None, None, None, None, None, 54.0)
    names = [VALUES[function][0] for function in missing]
    assert set(reading.notes) == {f"GPU {i}: {name}: {STATES[13]}" for i in (0, 1) for name in names}


def test_a_driver_with_only_the_older_temperature_call(
    stand_in: StandIn, compile_nvml: Callable[..., Path], load_nvml: Callable[[Path], None]
) -> None:
    load_nvml(compile_nvml("nvmlDeviceGetTemperatureV"))
    assert read() == GpuReading((FIRST, SECOND))


def test_a_library_that_is_not_nvml(
    stand_in: StandIn, compile_nvml: Callable[..., Path], load_nvml: Callable[[Path], None]
) -> None:
    load_nvml(compile_nvml("nvmlInitWithFlags"))
    assert read().notes == (f"GPU: not available ({STATES[13]})",)


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", absent)
    assert read() == GpuReading((), ("GPU: not available (NVML library not found)",))
