"""GPU readings through the real pynvml binding and a library that stands in for NVML."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.telemetry.nvml_world import CODES, FIRST, GIB, H100, SECOND, TWO_GPUS, A, B, StandIn, read
from workers.news import GpuSample
from workers.telemetry.gpu import GpuReader, GpuReading

pytestmark = pytest.mark.unit


def test_every_value_of_every_gpu(stand_in: StandIn) -> None:
    assert read() == GpuReading((FIRST, SECOND))


def test_only_the_visible_gpus_in_their_order(stand_in: StandIn) -> None:
    assert read({"CUDA_VISIBLE_DEVICES": "1"}).gpus == (SECOND,)
    assert read({"CUDA_VISIBLE_DEVICES": f"{B},GPU-aaaa"}).gpus == (SECOND, FIRST)


def test_a_replica_without_gpus_never_touches_nvml(stand_in: StandIn) -> None:
    for visible in ("", "-1"):
        reading = read({"CUDA_VISIBLE_DEVICES": visible})
        assert reading.gpus == ()
        assert reading.notes[0].startswith("GPU: none visible")
    assert stand_in.calls() == []


MIG = f"""
devices=2
gpu0.uuid={A}
gpu0.name={H100}
gpu0.temperature=61
gpu0.power=400000
gpu0.mig=4
gpu0.mig1.uuid=MIG-1111
gpu0.mig1.name={H100} MIG 1g.10gb
gpu0.mig1.memory.total=10
gpu0.mig1.memory.used=4
gpu0.mig1.process0=4242 3
gpu0.mig3.uuid=MIG-3333
gpu0.mig3.name={H100} MIG 2g.20gb
gpu0.mig3.memory.total=20
gpu0.mig3.memory.used=0
gpu1.uuid={B}
gpu1.mig=0
"""


def test_two_mig_instances(stand_in: StandIn) -> None:
    """Memory is the instance's, the temperature the chip's; NVML has no power or utilization per instance."""
    stand_in.play(MIG)
    reading = read({"CUDA_VISIBLE_DEVICES": "MIG-3333,MIG-1"})
    assert reading.gpus == (
        GpuSample("MIG-3333", f"{H100} MIG 2g.20gb", None, 0, 20, 0, None, 61.0),
        GpuSample("MIG-1111", f"{H100} MIG 1g.10gb", None, 4, 10, 3, None, 61.0),
    )
    power = "power: known for the whole GPU only, not for a MIG instance"
    assert set(reading.notes) == {
        f"GPU 0 MIG {i}: {note}" for i in (1, 3) for note in ("utilization: not supported", power)
    }
    assert [d.uuid for d in read({"CUDA_VISIBLE_DEVICES": f"MIG-{A}/4/0"}).gpus] == ["MIG-3333"]


@pytest.mark.parametrize("function", ["nvmlDeviceGetMigMode", "nvmlDeviceGetMaxMigDeviceCount"])
@pytest.mark.parametrize("code", CODES)
def test_a_failing_mig_call_is_no_exception_and_no_wrong_gpu(stand_in: StandIn, function: str, code: int) -> None:
    stand_in.play(f"{MIG}error.{function}={code}\n")
    reading = read({"CUDA_VISIBLE_DEVICES": "MIG-1111"})
    assert reading.gpus == ()
    assert "'MIG-1111'" in reading.notes[0]


def test_unused_instance_indices_are_no_instances(stand_in: StandIn) -> None:
    stand_in.play(MIG.replace("gpu0.mig1.uuid=MIG-1111", ""))
    reading = read({"CUDA_VISIBLE_DEVICES": "0"})
    assert [sample.uuid for sample in reading.gpus] == ["MIG-3333"]
    assert not any("instance used" in note for note in reading.notes)


def test_an_instance_without_permission_keeps_the_other(stand_in: StandIn) -> None:
    stand_in.play(f"{MIG}gpu0.mig1.error.nvmlDeviceGetUUID=4\n")
    assert [sample.uuid for sample in read({"CUDA_VISIBLE_DEVICES": "MIG-3333"}).gpus] == ["MIG-3333"]


def process_memory(reading: GpuReading) -> list[int | None]:
    return [sample.process_memory_bytes for sample in reading.gpus]


def test_memory_of_processes_is_none_unless_it_is_certain(stand_in: StandIn) -> None:
    reader = GpuReader({"CUDA_VISIBLE_DEVICES": "0"}, host_pids=True)
    assert process_memory(reader.read({4242})) == [4 * GIB]
    assert process_memory(reader.read({1})) == [0]
    none = reader.read(())
    assert (process_memory(none), none.notes) == ([None], ("GPU 0: process memory: no process",))
    stand_in.play(TWO_GPUS.replace("4242 4294967296", f"4242 {0xFFFFFFFFFFFFFFFF}"))
    unknown = reader.read({4242})
    assert (process_memory(unknown), unknown.notes) == (
        [None],
        ("GPU 0: process memory: not reported by the driver",),
    )
    reader.close()


def test_zero_bytes_in_a_container_are_none(stand_in: StandIn) -> None:
    reader = GpuReader({"CUDA_VISIBLE_DEVICES": "0"}, host_pids=False)
    assert process_memory(reader.read({4242})) == [4 * GIB]
    unknown = reader.read({77})
    assert process_memory(unknown) == [None]
    assert "container with its own PID namespace" in unknown.notes[0]
    stand_in.play(TWO_GPUS.replace("4242 4294967296", "4242 0"))
    assert process_memory(reader.read({4242})) == [None]
    reader.close()


def test_initialised_once_and_shut_down(stand_in: StandIn) -> None:
    reader = GpuReader({})
    reader.close()
    for _ in range(3):
        reader.read(())
    reader.close()
    reader.close()
    calls = stand_in.calls()
    assert calls.count("nvmlInitWithFlags") == calls.count("nvmlShutdown") == 1
    assert calls[-1] == "nvmlShutdown"


def test_shut_down_even_if_listing_gpus_fails(stand_in: StandIn) -> None:
    stand_in.play(f"{TWO_GPUS}error.nvmlDeviceGetCount_v2=999\nerror.nvmlShutdown=999\n")
    read()
    assert stand_in.calls()[-1] == "nvmlShutdown"


def test_another_process_initialises_for_itself(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = GpuReader({}, host_pids=True)
    reader.read(())
    monkeypatch.setattr(os, "getpid", lambda: -7)  # as in a fork
    assert reader.read({4242, 4243}).gpus == (FIRST, SECOND)
    assert stand_in.calls().count("nvmlInitWithFlags") == 2


def test_layouts_are_those_of_the_binding(compile_nvml: Callable[..., Path]) -> None:
    """The stand-in's structs come from nvml.h; the binding's are written by hand from the same header."""
    import pynvml

    layouts = ctypes.CDLL(str(compile_nvml())).stand_in_layouts
    layouts.restype = ctypes.c_char_p
    rows = [line.split() for line in layouts().decode().splitlines()]
    for structure, member, offset, size in rows:
        described = getattr(getattr(pynvml, structure), member)
        assert (described.offset, described.size) == (int(offset), int(size)), (structure, member)
    for structure in {row[0] for row in rows}:
        members = [row[1] for row in rows if row[0] == structure]
        assert members == [name for name, _ in getattr(pynvml, structure)._fields_]
    assert pynvml.nvmlMemory_v2 & 0xFFFFFF == ctypes.sizeof(pynvml.c_nvmlMemory_v2_t)
    assert pynvml.nvmlTemperature_v1 & 0xFFFFFF == ctypes.sizeof(pynvml.c_nvmlTemperature_v1_t)
