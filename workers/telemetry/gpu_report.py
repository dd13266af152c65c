"""What NVML sees on this machine, as one JSON document: run as a script, in a process of its own.

A process of its own because NVML can block for good on a sick driver, and because only workers/monitor may
import pynvml. It imports nothing of Regatta, so `python -P <this file>` works from any folder.

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
    """Asks NVML once. Never raises; a value that a device does not tell is null."""
    try:
        import pynvml
    except ImportError as error:
        return _nothing("no_binding", f"the package nvidia-ml-py cannot be imported: {error}")
    named_states = {
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: ("no_library", "NVML library not found"),
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED: ("no_driver", "NVIDIA driver not loaded"),
        pynvml.NVML_ERROR_NO_PERMISSION: ("no_permission", "no permission to talk to the NVIDIA driver"),
    }
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return _nothing(*named_states.get(error.value, ("error", f"NVML: {error}")))
    try:
        devices = [_device(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
        driver = _asked(pynvml, pynvml.nvmlSystemGetDriverVersion)
    except pynvml.NVMLError as error:
        return _nothing("error", f"NVML: {error}")
    finally:
        _asked(pynvml, pynvml.nvmlShutdown)
    lost = [f"GPU {index}: {device['error']}" for index, device in enumerate(devices) if device["error"]]
    return {
        "state": "error" if lost else "ok",
        "detail": "; ".join(lost) or f"{len(devices)} GPU" + "s" * (len(devices) != 1),
        "driver": driver,
        "devices": devices,
    }


def _nothing(state: str, detail: str) -> dict[str, Any]:
    return {"state": state, "detail": detail, "driver": None, "devices": []}


def _device(pynvml: Any, index: int) -> dict[str, Any]:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError as error:
        return {"uuid": None, "name": None, "memory_total_bytes": None, "error": str(error)}
    memory = _asked(pynvml, pynvml.nvmlDeviceGetMemoryInfo, handle)
    return {
        "uuid": _asked(pynvml, pynvml.nvmlDeviceGetUUID, handle),
        "name": _asked(pynvml, pynvml.nvmlDeviceGetName, handle),
        "memory_total_bytes": None if memory is None else int(memory.total),
        "error": None,
    }


def _asked(pynvml: Any, question: Any, *arguments: Any) -> Any:
    """The answer, decoded; None where the device or driver does not give it."""
    try:
        answer = question(*arguments)
    except pynvml.NVMLError:
        return None
    return answer.decode(errors="replace") if isinstance(answer, bytes) else answer


def main() -> None:
    """Prints the report; exits 0 whatever it says."""
    sys.stdout.write(json.dumps(report()) + "\n")


if __name__ == "__main__":
    main()
