"""The sampler's threads: they keep sampling and end promptly even if NVML blocks."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from dataclasses import replace

import pytest

from tests.unit.telemetry.nvml_world import TWO_GPUS, A, B, StandIn
from workers.news import GpuSample, HostSample
from workers.telemetry.gpu import GpuReader, GpuReading
from workers.telemetry.host import HostReading
from workers.telemetry.sampler import Sampler

pytestmark = pytest.mark.unit

EMPTY = HostSample(0.0, 1.0, 2, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
GPU = GpuSample("GPU-1", None, 50.0, 1, 2, None, None, None)
BLOCKED = "GPU: NVML call blocked for more than 5 s"
NOT_YET = "GPU: NVML has not answered yet"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Host:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def read(self, pid: int | None) -> HostReading:
        if pid == 13:
            raise RuntimeError("bad luck")
        return HostReading(replace(EMPTY, time=self.clock()), frozenset({pid} if pid else ()))


class Gpu:
    """A GPU source that blocks while `gate` is cleared."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.closed = threading.Event()
        self.answered = threading.Semaphore(0)
        self.pids: list[Collection[int]] = []

    def read(self, pids: Collection[int]) -> GpuReading:
        self.gate.wait(10)
        self.pids.append(pids)
        self.answered.release()
        return GpuReading((GPU,), ("GPU 0: power: not supported",))

    def close(self) -> None:
        self.closed.set()


def sampler(clock: Clock, gpu: Gpu | GpuReader, gpu_timeout: float = 5.0, pid: int | None = 7) -> Sampler:
    return Sampler(lambda: pid, host=Host(clock), gpu=gpu, clock=clock, gpu_timeout=gpu_timeout)


def test_a_sample_is_host_and_gpus_together() -> None:
    gpu = Gpu()
    s = sampler(Clock(), gpu)
    assert s.sample() == replace(EMPTY, time=100.0, gpus=(GPU,), notes=("GPU 0: power: not supported",))
    assert gpu.pids == [{7}]
    s.stop()
    assert gpu.closed.wait(5)


def test_a_sample_in_every_interval_until_it_is_stopped() -> None:
    clock, gpu = Clock(), Gpu()
    sleeps, samples = played(clock, gpu, drains=range(6), suspended_at=2)
    assert [sample.time for sample in samples] == [100.0, 102.0, 107.0, 109.0, 111.0, 113.0]
    assert sleeps == [2.0] * 6


def test_sampling_pauses_without_drains() -> None:
    clock, gpu = Clock(), Gpu()
    _, samples = played(clock, gpu, drains=(0, 8, 9, 10, 11))
    # Four in the six seconds after the drain at 100; the one at 118 has rates over the pause and is dropped.
    assert [sample.time for sample in samples] == [100.0, 102.0, 104.0, 106.0, 120.0, 122.0]
    assert len(gpu.pids) == 7


def test_sampling_continues_with_rare_drains() -> None:
    """The driver polls the less often the more tasks there are."""
    clock, gpu = Clock(), Gpu()
    _, samples = played(clock, gpu, drains=(0, 2, 5, 11, 19))
    assert [sample.time for sample in samples] == [100.0 + 2 * n for n in range(20)]


def played(
    clock: Clock, gpu: Gpu, drains: Collection[int], suspended_at: int | None = None
) -> tuple[list[float], list[HostSample]]:
    """Sleeps of a sampler with an interval of two seconds, and the samples drained in the sleeps `drains`, from 0."""
    sleeps: list[float] = []
    samples: list[HostSample] = []
    enough, go_on = threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        if len(sleeps) in drains:
            samples.extend(s.drain())
        sleeps.append(seconds)
        clock.now += seconds + (3.0 if len(sleeps) == suspended_at else 0.0)  # the machine was suspended once
        if len(sleeps) == max(drains) + 1:
            enough.set()
            go_on.wait(10)

    s = Sampler(lambda: 7, interval=2.0, host=Host(clock), gpu=gpu, clock=clock, sleep=sleep)
    s.start()
    s.start()
    assert enough.wait(10)
    assert s.drain() == ()
    go_on.set()
    s.stop()
    assert gpu.closed.wait(5)
    return sleeps, samples


def test_sources_that_raise_do_not_break_it() -> None:
    class Broken(Gpu):
        def read(self, pids: Collection[int]) -> GpuReading:
            raise OSError("gone")

    s = sampler(Clock(), Broken(), pid=13)
    sample = s.sample()
    assert sample.notes == ("host: RuntimeError: bad luck", "GPU: not available (OSError: gone)")
    assert (sample.cpu_percent, sample.host_memory_percent, sample.gpus) == (None, None, ())
    s.stop()


def test_a_blocked_call_does_not_stop_host_samples_and_is_named() -> None:
    clock, gpu = Clock(), Gpu()
    s = sampler(clock, gpu, gpu_timeout=0.01)
    gpu.gate.clear()
    seen = []
    for _ in range(8):
        sample = s.sample()
        assert (sample.cpu_percent, sample.gpus) == (1.0, ())
        seen.append(sample.notes)
        clock.now += 1.0
    assert seen == [(NOT_YET,)] * 6 + [(BLOCKED,)] * 2
    gpu.gate.set()
    assert gpu.answered.acquire(timeout=5)
    recovered = [s.sample().gpus for _ in range(3)]
    assert recovered[0] == ()  # the reading requested 8 s ago
    assert (GPU,) in recovered
    s.stop()


def test_a_late_reading_is_part_of_the_next_sample() -> None:
    clock, gpu = Clock(), Gpu()
    s = sampler(clock, gpu, gpu_timeout=0.01)
    gpu.gate.clear()
    assert s.sample().notes == (NOT_YET,)
    gpu.gate.set()
    assert gpu.answered.acquire(timeout=5)
    time.sleep(0.01)
    clock.now += 1.0
    assert s.sample().gpus == (GPU,)
    s.stop()


def test_stop_does_not_wait_for_a_blocked_call() -> None:
    gpu = Gpu()
    gpu.gate.clear()
    s = Sampler(lambda: 7, interval=0.05, host=Host(Clock()), gpu=gpu)
    s.start()
    while not s.drain():
        time.sleep(0.005)
    started = time.monotonic()
    s.stop()
    assert time.monotonic() - started < 1.0
    assert not gpu.closed.is_set()
    gpu.gate.set()
    assert gpu.closed.wait(5)  # once the call returns, NVML is shut down


@pytest.mark.parametrize(
    "function", ["nvmlInitWithFlags", "nvmlDeviceGetCount_v2", "nvmlDeviceGetUUID", "nvmlDeviceGetPowerUsage"]
)
def test_nvml_itself_blocks_and_recovers(stand_in: StandIn, function: str) -> None:
    clock = Clock()
    s = sampler(clock, GpuReader({}), gpu_timeout=0.02)
    stand_in.play(f"{TWO_GPUS}block.{function}=1\n")
    assert s.sample().notes == (NOT_YET,)
    clock.now += 6.0
    assert s.sample().notes == (BLOCKED,)
    stand_in.play(TWO_GPUS)
    deadline = time.monotonic() + 60
    while not (sample := s.sample()).gpus and time.monotonic() < deadline:
        clock.now += 0.1
    assert [gpu.uuid for gpu in sample.gpus] == [A, B]
    s.stop()
