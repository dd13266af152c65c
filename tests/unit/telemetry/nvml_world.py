"""GPUs for the NVML stand-in to play; nvml_stand_in.c explains the keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workers.news import GpuSample
from workers.telemetry.gpu import GpuReader, GpuReading

A = "GPU-aaaa1111-0000-0000-0000-000000000000"
B = "GPU-aabb2222-0000-0000-0000-000000000000"
TWO_GPUS = f"""
devices=2
gpu0.uuid={A}
gpu0.name=NVIDIA H100 80GB HBM3
gpu0.utilization=37
gpu0.memory.total=85899345920
gpu0.memory.used=6442450944
gpu0.power=312456
gpu0.temperature=54
gpu0.process0=4242 4294967296
gpu0.process1=4243 1073741824
gpu0.process2=9999 1048576
gpu1.uuid={B}
gpu1.name=NVIDIA H100 80GB HBM3
gpu1.utilization=0
gpu1.memory.total=85899345920
gpu1.memory.used=0
gpu1.power=71000
gpu1.temperature=30
"""
H100 = "NVIDIA H100 80GB HBM3"
GIB = 1 << 30
FIRST = GpuSample(A, H100, 37.0, 6 * GIB, 80 * GIB, 5 * GIB, 312.456, 54.0)
SECOND = GpuSample(B, H100, 0.0, 0, 80 * GIB, 0, 71.0, 30.0)
CODES = (3, 4, 9, 12, 13, 15, 999)
"""Codes of the errors that tests inject."""


@dataclass
class StandIn:
    """Control of the NVML stand-in."""

    values: Path

    def play(self, text: str) -> None:
        """Replace its values atomically: the stand-in reads the file at every call."""
        draft = self.values.with_suffix(".draft")
        draft.write_text(text)
        draft.replace(self.values)

    def calls(self) -> list[str]:
        """The NVML functions called so far, in order."""
        record = Path(f"{self.values}.calls")
        return record.read_text().split() if record.exists() else []


def read(environ: dict[str, str] | None = None, *, host_pids: bool = True) -> GpuReading:
    reader = GpuReader(environ or {}, host_pids=host_pids)
    try:
        return reader.read({4242, 4243})
    finally:
        reader.close()
