"""Request bodies with a size and a time: read whole, or not at all.

Both limits count what arrives after decompression, and from the first byte on, so neither a small compressed
bomb nor a sender of one byte a second holds a handler for long.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web
from multidict import MultiDict

from bot.web.problems import Rejected

FORM, JSON = "application/x-www-form-urlencoded", "application/json"
_MAX_FIELDS = 200
_JSON = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long senders may take, in seconds, and how much a bulk request may hold."""

    body_s: float = 10.0
    bulk_idle_s: float = 30.0
    bulk_rows: int = 100_000
    bulk_bytes: int = 512 * 1024 * 1024


LIMITS: web.AppKey[Limits] = web.AppKey("limits", Limits)


async def read(request: web.Request, size: int) -> bytes:
    """The whole body, `size` bytes at most. Raises Rejected: 413 too large, 408 too slow, 400 broken off."""
    seconds = request.app[LIMITS].body_s
    if request.content_length is not None and request.content_length > size:
        raise _too_large(size)
    try:
        if request.content.is_eof():  # it came with the headers, as nearly every one does
            raw = request.content.read_nowait()
            _check(raw, size)
            return raw
        async with asyncio.timeout(seconds):
            return await _collect(request, size)
    except TimeoutError as error:
        raise Rejected("too-slow", f"a body must arrive within {seconds:g} seconds") from error
    except web.RequestPayloadError as error:
        raise Rejected("bad-request", "the body broke off or could not be decompressed") from error


async def _collect(request: web.Request, size: int) -> bytes:
    parts = bytearray()
    async for part in request.content.iter_any():
        parts += part
        _check(parts, size)
    return bytes(parts)


def _check(raw: bytes | bytearray, size: int) -> None:
    if len(raw) > size:
        raise _too_large(size)


def json_object(raw: bytes) -> dict[str, Any]:
    """The body as one JSON object. Raises Rejected (400)."""
    try:
        value = _JSON.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The library's text names a position and a type, never what was given.
        raise Rejected("not-understood", str(error)) from error
    return value


def form(raw: bytes) -> MultiDict[str]:
    """The body as a form, empty fields kept: signatures cover them too. Raises Rejected (400)."""
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise Rejected("bad-request", "the body is not a form in UTF-8") from error
    return MultiDict(pairs)


def _too_large(size: int) -> Rejected:
    return Rejected("too-large", f"at most {size} bytes are taken here")
