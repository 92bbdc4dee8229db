"""Which addresses count as public: the special-purpose registries of IANA, and what hides in IPv6."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_mcp_oauth.http.guard import is_public

PUBLIC = [
    "8.8.8.8",
    "93.184.216.34",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "100.63.255.255",
    "2606:4700::1111",
    "2a00:1450::1",
    "64:ff9b::8.8.8.8",
]

NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.9",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "100:0:0:1::1",
    "2001::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]

EMBEDDING = {
    "mapped": lambda v4: (0xFFFF << 32) | v4,
    "compatible": lambda v4: v4,
    "translated": lambda v4: (0xFFFF << 48) | v4,
    "NAT64": lambda v4: (0x0064_FF9B << 96) | v4,
    "6to4": lambda v4: (0x2002 << 112) | (v4 << 80) | 1,
    "ISATAP": lambda v4: (0x2606_4700 << 96) | (0x5EFE << 32) | v4,
    "ISATAP, unique": lambda v4: (0x2606_4700 << 96) | (0x0200_5EFE << 32) | v4,
    "Teredo": lambda v4: (0x2001_0000 << 96) | (v4 ^ 0xFFFF_FFFF),
    "local NAT64": lambda v4: (0x0064_FF9B_0001 << 80) | v4,
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    """What anybody may contact."""
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_not_public(address: str) -> None:
    """Whatever `ipaddress` of this Python release says: special-purpose, multicast, and the cloud's own."""
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("form", EMBEDDING)
@pytest.mark.parametrize("address", [address for address in NOT_PUBLIC if ":" not in address])
def test_nothing_hides_in_ipv6(form: str, address: str) -> None:
    """An internal IPv4 address stays internal in every form that IPv6 has for it."""
    assert not is_public(IPv6Address(EMBEDDING[form](int(IPv4Address(address)))))


@given(st.ip_addresses(v=4))
def test_dns64_networks_work(address: IPv4Address) -> None:
    """RFC 6052 addresses, which DNS64 makes for IPv4-only servers, are as public as what they stand for."""
    assert is_public(IPv6Address(EMBEDDING["NAT64"](int(address)))) == is_public(address)


@given(st.ip_addresses())
def test_never_more_than_python_says(address: IPv4Address | IPv6Address) -> None:
    """Our rule only takes away."""
    assert address.is_global or not is_public(address)
