"""Readings of a replica's GPUs through NVML (module `pynvml` of the distribution nvidia-ml-py).

NVML can fail as a whole, for one GPU or for one value: each failure is named in `notes`, and its values are
None. Source: https://docs.nvidia.com/deploy/nvml-api.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workers.news import GpuSample
from workers.telemetry.readings import NotMeasured, Readings
from workers.telemetry.visible_gpus import Choice, Device, choose, names_none

NOT_FOUND, FUNCTION_NOT_FOUND, GPU_IS_LOST, RESET_REQUIRED = 6, 13, 15, 16

STATES = {
    1: "NVML is not initialised",
    2: "not valid for this device",
    3: "not supported",
    4: "no permission",
    9: "NVIDIA driver not loaded",
    10: "NVML timed out",
    12: "NVML library not found",
    FUNCTION_NOT_FOUND: "this driver's NVML has no such function",
    GPU_IS_LOST: "GPU is lost",
    RESET_REQUIRED: "GPU needs a reset",
    17: "blocked by the operating system",
    18: "driver and NVML library versions differ",
    20: "NVML is out of memory",
    999: "unknown NVML error",
}
"""Names of nvmlReturn_t codes. `str(NVMLError)` is not used, because it may call an NVML that has just failed."""

# The kernel's fixed inode number of the first PID namespace (PROC_PID_INIT_INO, include/linux/proc_ns.h).
HOST_PID_NAMESPACE = "pid:[4026531836]"


@dataclass(frozen=True)
class GpuReading:
    gpus: tuple[GpuSample, ...] = ()
    """In CUDA's order; a GPU that was lost stays in place, with its values None."""
    notes: tuple[str, ...] = ()


class _GpuGone(Exception):  # noqa: N818 - a state of the device, not a programming error
    """Nothing more can be read from this GPU; reading each further value would only take time."""


class GpuReader:
    """Reads the GPUs that CUDA_VISIBLE_DEVICES gives this process.

    NVML is loaded and initialised at the first `read` of each process (a fork starts over), and not at all
    if the environment hides every GPU. A call can block for as long as the driver does: use the reader from a
    thread of its own, as `Sampler` does.

    Args:
        environ: where CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER are read, once; None for `os.environ`.
        host_pids: whether this process' pids are the host's; None to detect it. In a container NVML lists the
            host's pids or, with newer drivers, the container's with 0 bytes (NVIDIA/open-gpu-kernel-modules#614).
    """

    def __init__(self, environ: Mapping[str, str] | None = None, *, host_pids: bool | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._visible = environ.get("CUDA_VISIBLE_DEVICES")
        self._order = environ.get("CUDA_DEVICE_ORDER")
        self._host_pids = _has_host_pids() if host_pids is None else host_pids
        self._opened_by: int | None = None
        self._nvml: Any = None
        self._choice = Choice()

    def read(self, pids: Collection[int]) -> GpuReading:
        """One sample of each GPU, with the GPU memory that the processes `pids` use. Never raises."""
        if self._opened_by != os.getpid():
            self._opened_by, self._nvml = os.getpid(), None
            self._choice = self._open()
        notes = list(self._choice.notes)
        return GpuReading(tuple(self._sample(d, pids, notes) for d in self._choice.devices), tuple(notes))

    def close(self) -> None:
        """Shut NVML down. The next `read` starts it again."""
        if self._nvml is not None and self._opened_by == os.getpid():
            Readings(_state_of).read("shutdown", self._nvml.nvmlShutdown)
        self._opened_by, self._nvml, self._choice = None, None, Choice()

    def _open(self) -> Choice:
        if reason := names_none(self._visible):
            return Choice(notes=(f"GPU: none visible ({reason})",))
        try:
            import pynvml
        except ImportError as error:
            return Choice(notes=(f"GPU: not available (nvidia-ml-py cannot be imported: {error})",))
        try:
            pynvml.nvmlInit()
            self._nvml = pynvml
            gpus = [self._gpu(index) for index in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            return Choice(notes=(f"GPU: not available ({_state_of(error)})",))
        if not gpus:
            return Choice(notes=("GPU: not available (no NVIDIA GPU on this host)",))
        return choose(self._visible, gpus, order=self._order)

    def _gpu(self, index: int) -> Device:
        label = f"GPU {index}"
        try:
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            device = self._describe(label, handle)
            if not self._is_split(handle):
                return device
            instances = tuple(self._instances(label, handle, device.uuid))
            return replace(device, mig=True, instances=instances)
        except self._nvml.NVMLError as error:
            return Device(label, notes=(f"{label}: {_state_of(error)}",))

    def _describe(self, label: str, handle: object, parent: object = None, old_name: str = "") -> Device:
        """The properties that stay the same while NVML is open. Raises NVMLError if not even the UUID can be read."""
        readings = Readings(_state_of, prefix=f"{label}: ")
        uuid = self._nvml.nvmlDeviceGetUUID(handle)
        name = readings.read("name", lambda: str(self._nvml.nvmlDeviceGetName(handle)))
        return Device(label, uuid, name, handle, parent, old_name=old_name, notes=tuple(readings.notes))

    def _is_split(self, handle: object) -> bool:
        try:
            current, _pending = self._nvml.nvmlDeviceGetMigMode(handle)
        except self._nvml.NVMLError:
            return False  # a GPU or a driver without MIG
        return bool(current)

    def _instances(self, label: str, gpu: object, uuid: str | None) -> Iterator[Device]:
        nvml = self._nvml
        for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
            name = f"{label} MIG {index}"
            try:
                handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index)
                ids = (nvml.nvmlDeviceGetGpuInstanceId(handle), nvml.nvmlDeviceGetComputeInstanceId(handle))
                yield self._describe(name, handle, gpu, f"MIG-{uuid}/{ids[0]}/{ids[1]}")
            except nvml.NVMLError as error:
                if error.value != NOT_FOUND:  # the indices have gaps
                    yield Device(name, notes=(f"{name}: {_state_of(error)}",))

    def _sample(self, device: Device, pids: Collection[int], notes: list[str]) -> GpuSample:
        nvml, handle = self._nvml, device.handle
        readings = Readings(_state_or_gone, prefix=f"{device.label}: ")
        try:
            memory = readings.read("memory", lambda: nvml.nvmlDeviceGetMemoryInfo(handle, nvml.nvmlMemory_v2))
            sample = GpuSample(
                uuid=str(device.uuid),
                name=device.name,
                utilization_percent=readings.read(
                    "utilization", lambda: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
                ),
                memory_used_bytes=memory and int(memory.used),
                memory_total_bytes=memory and int(memory.total),
                process_memory_bytes=readings.read("process memory", lambda: self._process_memory(handle, pids)),
                power_watts=readings.read("power", lambda: self._power(device)),
                temperature_celsius=readings.read("temperature", lambda: self._temperature(device)),
            )
        except _GpuGone as gone:
            notes.append(f"{device.label}: {gone}")
            return GpuSample(str(device.uuid), device.name, None, None, None, None, None, None)
        notes += readings.notes
        return sample

    def _process_memory(self, handle: object, pids: Collection[int]) -> int:
        """Bytes. A process without a CUDA context uses 0, which is certain only in the host's PID namespace."""
        if not pids:
            raise NotMeasured("no process")
        listed = self._nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)
        used = [process.usedGpuMemory for process in listed if process.pid in pids]
        if None in used:
            raise NotMeasured("not reported by the driver")
        if not any(used) and not self._host_pids:
            raise NotMeasured("not known to NVML in a container with its own PID namespace")
        return sum(used)

    def _power(self, device: Device) -> float:
        """Watts: the average of 1 s on Ampere and later (except GA100), the momentary value on older GPUs."""
        if device.parent is not None:
            raise NotMeasured("known for the whole GPU only, not for a MIG instance")
        return float(self._nvml.nvmlDeviceGetPowerUsage(device.handle)) / 1000.0

    def _temperature(self, device: Device) -> float:
        """Degrees Celsius of the chip, which all its MIG instances share."""
        nvml, handle = self._nvml, device.parent or device.handle
        try:
            return float(nvml.nvmlDeviceGetTemperatureV(handle, nvml.NVML_TEMPERATURE_GPU))
        except nvml.NVMLError as error:
            if error.value != FUNCTION_NOT_FOUND:
                raise
            return float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))  # older drivers


def _state_of(error: Exception) -> str:
    code = getattr(error, "value", None)
    if not isinstance(code, int):
        return f"{type(error).__name__}: {error}"
    return STATES.get(code, f"NVML error {code}")


def _state_or_gone(error: Exception) -> str:
    if getattr(error, "value", None) in {GPU_IS_LOST, RESET_REQUIRED}:
        raise _GpuGone(_state_of(error))
    return _state_of(error)


def _has_host_pids() -> bool:
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == HOST_PID_NAMESPACE
    except OSError:
        return False
