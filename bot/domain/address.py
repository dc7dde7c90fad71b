"""IP addresses: which are the public internet, also behind what IPv6 wraps around IPv4. Resolves no names.

Sources: IANA special-purpose address registries; RFC 6052 (NAT64), RFC 3056 (6to4), RFC 4380 (Teredo); Azure's
platform address 168.63.129.16, which is a public one; RFC 6761 (localhost).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
# Clouds keep metadata and keys of the machine behind these, though not all registries call them private.
_METADATA = (IPv4Network("168.63.129.16/32"), IPv4Network("192.0.0.0/24"))


def names_private(host: str) -> bool:
    """Whether a URL's host names a private address without being looked up, however the address is written."""
    if f".{host.rstrip('.').lower()}".endswith(".localhost"):
        return True
    try:
        # What resolvers take for an IPv4 address too: 127.1, 0x7f000001, 2130706433.
        written = host if ":" in host else socket.inet_ntoa(socket.inet_aton(host))
        return not is_public(written)
    except (OSError, ValueError):
        return False


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also behind what IPv6 wraps around IPv4."""
    return all(_is_public(one) for one in _layers(ip_address(address.partition("%")[0])))


def _layers(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address | IPv6Address]:
    if isinstance(address, IPv4Address):
        yield address
        return
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        inner.append(IPv4Address(int(address) & 0xFFFFFFFF))
    wrapped = [one for one in inner if one is not None]
    if address.ipv4_mapped is None and address not in _NAT64:
        yield address
    yield from wrapped


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not address.is_multicast and not any(address in one for one in _METADATA)
