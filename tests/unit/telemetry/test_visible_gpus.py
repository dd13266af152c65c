"""CUDA_VISIBLE_DEVICES is read as CUDA reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.telemetry.visible_gpus import Device, choose

pytestmark = pytest.mark.unit

H100, L4 = "NVIDIA H100", "NVIDIA L4"
GPUS = tuple(Device(f"GPU {i}", f"GPU-{uuid}", H100, handle=i) for i, uuid in enumerate(["aaaa11", "aabb22", "cccc33"]))
INSTANCES = tuple(
    Device(f"GPU 1 MIG {i}", f"MIG-{i}f00", H100, handle=f"m{i}", parent=1, old_name=f"MIG-GPU-aabb22/{i + 1}/0")
    for i in range(2)
)
SPLIT = (GPUS[0], Device("GPU 1", "GPU-aabb22", H100, handle=1, mig=True, instances=INSTANCES), GPUS[2])


def labels(visible: str | None, gpus: tuple[Device, ...] = GPUS) -> list[str]:
    return [device.label for device in choose(visible, gpus).devices]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("  ", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("2,0", [2, 0]),
        (" 1 , 2 ", [1, 2]),
        ("+1", [1]),
        ("1x,2", [1, 2]),
        ("0,2,-1,1", [0, 2]),
        ("0,3,1", [0]),
        ("0,,1", [0]),
        ("0,4294967296,1", [0]),
        ("0,1,0", []),
        ("GPU-cccc33,GPU-aaaa11", [2, 0]),
        ("GPU-c,GPU-aab", [2, 1]),
        ("GPU-aa", []),
        ("GPU-cccc33,GPU-aa,GPU-aabb22", [2]),
        ("GPU-cccc33,2", []),
        ("cccc33", []),
        ("GPU-dddd", []),
    ],
)
def test_order_prefixes_and_the_first_invalid_entry(visible: str | None, expected: list[int]) -> None:
    assert labels(visible) == [f"GPU {i}" for i in expected]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("MIG-1f00", ["GPU 1 MIG 1"]),
        ("MIG-0", ["GPU 1 MIG 0"]),
        ("MIG-1f00,MIG-0f00", ["GPU 1 MIG 1", "GPU 1 MIG 0"]),
        ("MIG-GPU-aabb22/2/0", ["GPU 1 MIG 1"]),
        ("MIG-GPU-aabb22/9/0", []),
        ("MIG-", []),
        ("1,MIG-0", []),
        ("1", ["GPU 1 MIG 0"]),
        ("GPU-aab,0", ["GPU 1 MIG 0", "GPU 0"]),
        (None, ["GPU 0", "GPU 1 MIG 0", "GPU 2"]),
    ],
)
def test_mig_instances_by_uuid_by_old_name_and_through_their_gpu(visible: str | None, expected: list[str]) -> None:
    assert labels(visible, SPLIT) == expected


def test_a_split_gpu_says_which_instance_is_used() -> None:
    empty = (Device("GPU 0", "GPU-aaaa11", H100, handle=0, mig=True),)
    assert choose("1", SPLIT).notes == ("GPU 1: MIG is on, instance used: the first of several",)
    assert choose("MIG-0", SPLIT).notes == ()
    assert choose(None, empty).notes == ("GPU 0: MIG is on, instance used: none",)


@pytest.mark.parametrize(
    ("visible", "note"),
    [
        ("", "GPU: none visible (CUDA_VISIBLE_DEVICES is empty)"),
        ("-1", "GPU: none visible (CUDA_VISIBLE_DEVICES=-1)"),
        ("1,1", "GPU: none visible (CUDA_VISIBLE_DEVICES=1,1 repeats GPU 1)"),
        ("0,7", "GPU: CUDA_VISIBLE_DEVICES=0,7 ends at '7': it names no GPU, or more than one"),
    ],
)
def test_notes_name_what_is_left_out(visible: str, note: str) -> None:
    assert choose(visible, GPUS).notes == (note,)


def test_an_index_is_ambiguous_among_different_models() -> None:
    """CUDA numbers the fastest GPU first, NVML numbers by PCI bus: 0 could be either."""
    mixed = (Device("GPU 0", "GPU-a", L4, handle=0), Device("GPU 1", "GPU-b", H100, handle=1))
    refused = choose("0", mixed)
    assert refused.devices == ()
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in refused.notes[0]
    assert [d.label for d in choose("0", mixed, order="PCI_BUS_ID").devices] == ["GPU 0"]
    assert [d.label for d in choose("GPU-b", mixed).devices] == ["GPU 1"]
    assert len(choose("1,0", mixed).devices) == 2
    assert len(choose(None, mixed).devices) == 2


def test_a_gpu_that_nvml_could_not_open_keeps_its_number_and_gives_its_reason() -> None:
    broken = Device("GPU 1", notes=("GPU 1: GPU is lost",))
    choice = choose("2,1", (GPUS[0], broken, GPUS[2]))
    assert [device.label for device in choice.devices] == ["GPU 2"]
    assert choice.notes == ("GPU 1: GPU is lost",)


entries = st.sampled_from(["0", "1", "2", "3", "-1", "GPU-a", "GPU-aab", "GPU-cccc33", "MIG-0", "MIG-1f00", ""])


@given(st.lists(entries, max_size=6).map(",".join) | st.text(max_size=20))
def test_any_text_gives_distinct_devices_or_a_reason(visible: str) -> None:
    choice = choose(visible, SPLIT)
    chosen = [device.label for device in choice.devices]
    assert len(set(chosen)) == len(chosen)
    assert chosen or choice.notes


@given(st.permutations(range(3)), st.integers(0, 3), entries)
def test_entries_after_the_first_invalid_one_are_ignored(order: list[int], valid: int, after: str) -> None:
    start = [str(i) for i in order[:valid]]
    assert labels(",".join([*start, "9", after])) == [f"GPU {i}" for i in order[:valid]]
