"""Connections to addresses that others chose, such as `callback_url`: to the public internet and nowhere else.

The check is made on the very address a socket is opened to, after names are resolved, so neither a name that resolves
to a private address, nor one that changes between check and use, nor an unusual way to write an address gets around
it. Proxies of the environment are not used, redirects are for the caller not to follow.

Sources: IANA special-purpose address registries; RFC 6052 (NAT64), RFC 3056 (6to4), RFC 4380 (Teredo); Azure's
platform address 168.63.129.16, which is a public one.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import aiohttp

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
# Clouds keep metadata and keys of the machine behind these, though not all registries call them private.
_METADATA = (IPv4Network("168.63.129.16/32"), IPv4Network("192.0.0.0/24"))


class AddressRefused(OSError):
    """A socket to an address that is not public was asked for."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, "the address is not public")


def session(*, private: bool, timeout_s: float) -> aiohttp.ClientSession:
    """A client that keeps no cookies and connects to public addresses only, or anywhere if `private`."""
    connector = aiohttp.TCPConnector(
        limit=0, use_dns_cache=False, socket_factory=None if private else _public_socket
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        auto_decompress=False,
        trust_env=False,
    )


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


def _public_socket(info: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, address = info
    if not is_public(address[0]):
        raise AddressRefused
    opened = socket.socket(family, kind, protocol)
    opened.setblocking(False)
    return opened
