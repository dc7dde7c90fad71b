"""Connections to addresses that others chose, such as `callback_url`: to the public internet and nowhere else.

The check is made on the very address a socket is opened to, after names are resolved, so neither a name that resolves
to a private address, nor one that changes between check and use, nor an unusual way to write an address gets around
it. Proxies of the environment are not used, redirects are for the caller not to follow.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

import aiohttp

from bot.domain.address import is_public


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


def _public_socket(info: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, address = info
    if not is_public(address[0]):
        raise AddressRefused
    opened = socket.socket(family, kind, protocol)
    opened.setblocking(False)
    return opened
