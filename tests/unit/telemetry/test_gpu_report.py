"""The report on GPUs that `doctor` reads from a child process."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from workers.telemetry import gpu_report

pytestmark = pytest.mark.unit


class NVMLError(Exception):
    """The error of the binding."""

    def __init__(self, value: int) -> None:
        super().__init__(f"error {value}")
        self.value = value


class FakeNVML(SimpleNamespace):
    """The part of pynvml that gpu_report uses; `fails` maps a function's name to an error number."""

    NVMLError = NVMLError
    NVML_ERROR_NO_PERMISSION, NVML_ERROR_DRIVER_NOT_LOADED, NVML_ERROR_LIBRARY_NOT_FOUND = 4, 9, 12

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, Any] = {
            "nvmlDeviceGetCount": 1,
            "nvmlDeviceGetName": b"NVIDIA H100",
            "nvmlDeviceGetUUID": "GPU-1",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=80 * 2**30),
            "nvmlSystemGetDriverVersion": "580.82",
        }

        def function(*_: Any) -> Any:
            if name in self.fails:
                raise NVMLError(self.fails[name])
            return answers.get(name)

        return function


@pytest.mark.parametrize(
    ("fails", "state", "devices"),
    [
        ({}, "ok", 1),
        ({"nvmlInit": 12}, "no_library", 0),
        ({"nvmlInit": 9}, "no_driver", 0),
        ({"nvmlInit": 4}, "no_permission", 0),
        ({"nvmlInit": 999}, "error", 0),
        ({"nvmlDeviceGetCount": 999}, "error", 0),
        ({"nvmlDeviceGetHandleByIndex": 15}, "error", 1),
        ({"nvmlDeviceGetMemoryInfo": 3, "nvmlSystemGetDriverVersion": 3}, "ok", 1),
    ],
)
def test_gpu_report(monkeypatch: pytest.MonkeyPatch, fails: dict[str, int], state: str, devices: int) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNVML(fails=fails))
    report = gpu_report.report()
    assert (report["state"], len(report["devices"])) == (state, devices)
    if "nvmlDeviceGetMemoryInfo" in fails:
        assert report["devices"][0]["memory_total_bytes"] is None
        assert report["driver"] is None
    assert json.loads(json.dumps(report)) == report


def test_gpu_report_without_the_binding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_report.report()["state"] == "no_binding"
