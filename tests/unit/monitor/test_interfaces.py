"""A host's addresses: the one on a named interface or range, and those that other hosts might reach."""

from __future__ import annotations

import pytest

from workers.telemetry.interfaces import InterfaceError, address_on, reachable_from_outside

pytestmark = pytest.mark.unit

FOUND = {
    "lo": ["127.0.0.1", "::1"],
    "eth0": ["192.0.2.5", "fe80::1", "2001:db8::5"],
    "eth1": ["10.1.0.5"],
    "down0": [],
}


@pytest.mark.parametrize(
    ("wanted", "address"),
    [
        ("eth0", "192.0.2.5"), ("eth1", "10.1.0.5"), ("10.0.0.0/8", "10.1.0.5"), ("10.1.0.5", "10.1.0.5"),
        ("10.1.7.7/16", "10.1.0.5"), ("2001:db8::/32", "2001:db8::5"), ("lo", "127.0.0.1"),
    ],
)  # fmt: skip
def test_an_interface_by_name_or_range(wanted: str, address: str) -> None:
    assert address_on(wanted, FOUND) == address


@pytest.mark.parametrize("wanted", ["eth9", "172.16.0.0/12", "down0", "eth"])
def test_an_interface_that_is_not_there(wanted: str) -> None:
    with pytest.raises(InterfaceError, match=r"It has lo \(127\.0\.0\.1, ::1\), eth0 .*eth1 \(10\.1\.0\.5\)") as caught:
        address_on(wanted, FOUND)
    assert repr(wanted) in str(caught.value)


def test_what_others_might_reach() -> None:
    assert reachable_from_outside(FOUND) == ["192.0.2.5", "10.1.0.5", "2001:db8::5"]
