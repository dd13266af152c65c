"""GPUs that a process sees: CUDA_VISIBLE_DEVICES, read as CUDA reads it, applied to the GPUs that NVML lists.

Source: CUDA Programming Guide, "CUDA Environment Variables". What the guide leaves open is done as PyTorch does
it (`torch.cuda._parse_visible_devices`): a repeated GPU empties the list, an ambiguous prefix is invalid, `1x`
counts as 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """A GPU, or a MIG instance of one, as NVML lists it."""

    label: str
    """`GPU 1` or `GPU 1 MIG 0`, numbered by NVML (PCI bus order)."""
    uuid: str | None = None
    """None if NVML could not open the GPU; `notes` then says why."""
    name: str | None = None
    """The model, such as `NVIDIA H100`."""
    handle: object = None
    """NVML's handle."""
    parent: object = None
    """NVML's handle of the whole GPU, for a MIG instance."""
    mig: bool = False
    """Whether the GPU is split by MIG: only its instances can be used."""
    instances: tuple[Device, ...] = ()
    old_name: str = ""
    """`MIG-<GPU uuid>/<GPU instance>/<compute instance>`, the name of an instance in drivers before R470."""
    notes: tuple[str, ...] = ()
    """Reasons why properties of it could not be read."""


@dataclass(frozen=True)
class Choice:
    devices: tuple[Device, ...] = ()
    """In CUDA's order."""
    notes: tuple[str, ...] = ()


def names_none(visible: str | None) -> str | None:
    """The reason why this value of the variable hides every GPU of any host; None if it does not."""
    if visible is None:
        return None
    if not visible.strip():
        return "CUDA_VISIBLE_DEVICES is empty"
    if visible.strip().startswith("-"):
        return f"CUDA_VISIBLE_DEVICES={visible.strip()}"
    return None


def choose(visible: str | None, gpus: Sequence[Device], *, order: str | None = None) -> Choice:
    """The devices that a process sees, given its CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER (None: not set)."""
    if visible is None:
        return _usable(gpus, ())
    if reason := names_none(visible):
        return Choice(notes=(f"GPU: none visible ({reason})",))
    tokens = [token.strip() for token in visible.split(",")]
    chosen: list[Device] = []
    notes: tuple[str, ...] = ()
    for token in tokens:
        device = _find(token, gpus)
        if device is None:
            reason = f"ends at {token!r}: it names no GPU, or more than one"
            notes = (f"GPU: CUDA_VISIBLE_DEVICES={visible} {reason}",)
            break
        if _used(device) in map(_used, chosen):
            reason = f"CUDA_VISIBLE_DEVICES={visible} repeats {device.label}"
            return Choice(notes=(f"GPU: none visible ({reason})",))
        chosen.append(device)
    by_index = any(_index(token) is not None for token in tokens[: len(chosen)])
    if by_index and _order_is_unknown(gpus, chosen, order):
        reason = "GPU models differ: set CUDA_DEVICE_ORDER=PCI_BUS_ID or name GPUs by UUID"
        return Choice(notes=(f"GPU: CUDA_VISIBLE_DEVICES={visible} is ambiguous ({reason})",))
    return _usable(chosen, notes)


def _find(token: str, gpus: Sequence[Device]) -> Device | None:
    index = _index(token)
    if index is not None:
        return gpus[index] if index < len(gpus) else None
    if token.startswith("MIG-"):
        candidates = [instance for gpu in gpus for instance in gpu.instances]
    elif token.startswith("GPU-"):
        candidates = list(gpus)
    else:
        return None
    found = [d for d in candidates if (d.uuid or "").startswith(token) or d.old_name == token]
    return found[0] if len(found) == 1 else None


def _index(token: str) -> int | None:
    digits = re.match(r"\+?([0-9]{1,9})(?![0-9])", token)
    return int(digits[1]) if digits else None


def _order_is_unknown(gpus: Sequence[Device], chosen: Sequence[Device], order: str | None) -> bool:
    """Whether CUDA may number the GPUs differently than NVML, so that an index is ambiguous.

    CUDA numbers the fastest GPU first by default, NVML numbers by PCI bus. It makes no difference if all GPUs
    are of one model, or if all are chosen.
    """
    models = {gpu.name for gpu in gpus if gpu.name is not None}
    return order != "PCI_BUS_ID" and len(models) > 1 and len(chosen) < len(gpus)


def _used(device: Device) -> Device:
    """The device that CUDA uses: the first instance of a GPU that is split by MIG, or the device itself."""
    return next((instance for instance in device.instances if instance.uuid is not None), device)


def _usable(chosen: Sequence[Device], notes: tuple[str, ...]) -> Choice:
    """The devices that can be used, with notes on each; those that NVML cannot open are left out."""
    devices: list[Device] = []
    for device in chosen:
        used = _used(device)
        notes += device.notes if used is device else device.notes + used.notes
        if device.mig and len(device.instances) != 1:
            found = "the first of several" if device.instances else "none"
            notes += (f"{device.label}: MIG is on, instance used: {found}",)
        if used.uuid is not None and not used.mig:
            devices.append(used)
    return Choice(tuple(devices), notes)
