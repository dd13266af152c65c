"""Report of the GPUs that NVML lists on this machine, as one JSON document; a script for a process of its own.

It runs in its own process because NVML can block forever on a broken driver, and because only workers/telemetry
may import pynvml. It imports nothing of Regatta, so `python -P <this file>` works from any folder.

    {"state": "ok", "detail": "1 GPU", "driver": "580.82",
     "devices": [{"uuid": "GPU-1f", "name": "NVIDIA H100", "memory_total_bytes": 85520809984,
                  "error": null}]}

`state`: `ok` (with or without devices), `no_binding`, `no_library`, `no_driver`, `no_permission` or `error`.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def report() -> dict[str, Any]:
    """The report. Never raises; a value that a device does not report is null."""
    try:
        import pynvml
    except ImportError as error:
        return _no_devices("no_binding", f"the package nvidia-ml-py cannot be imported: {error}")
    named_states = {
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: ("no_library", "NVML library not found"),
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED: ("no_driver", "NVIDIA driver not loaded"),
        pynvml.NVML_ERROR_NO_PERMISSION: ("no_permission", "no permission to use the NVIDIA driver"),
    }
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return _no_devices(*named_states.get(error.value, ("error", f"NVML: {error}")))
    try:
        devices = [_device(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
        driver = _value(pynvml, pynvml.nvmlSystemGetDriverVersion)
    except pynvml.NVMLError as error:
        return _no_devices("error", f"NVML: {error}")
    finally:
        _value(pynvml, pynvml.nvmlShutdown)
    lost = [f"GPU {index}: {device['error']}" for index, device in enumerate(devices) if device["error"]]
    return {
        "state": "error" if lost else "ok",
        "detail": "; ".join(lost) or f"{len(devices)} GPU" + "s" * (len(devices) != 1),
        "driver": driver,
        "devices": devices,
    }


def _no_devices(state: str, detail: str) -> dict[str, Any]:
    return {"state": state, "detail": detail, "driver": None, "devices": []}


def _device(pynvml: Any, index: int) -> dict[str, Any]:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError as error:
        return {"uuid": None, "name": None, "memory_total_bytes": None, "error": str(error)}
    memory = _value(pynvml, pynvml.nvmlDeviceGetMemoryInfo, handle)
    return {
        "uuid": _value(pynvml, pynvml.nvmlDeviceGetUUID, handle),
        "name": _value(pynvml, pynvml.nvmlDeviceGetName, handle),
        "memory_total_bytes": None if memory is None else int(memory.total),
        "error": None,
    }


def _value(pynvml: Any, function: Any, *arguments: Any) -> Any:
    """What the NVML function returns, decoded; None if it fails."""
    try:
        value = function(*arguments)
    except pynvml.NVMLError:
        return None
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def main() -> None:
    """Print the report; the exit code is 0 whatever it says."""
    sys.stdout.write(json.dumps(report()) + "\n")


if __name__ == "__main__":
    main()
