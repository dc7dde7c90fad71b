"""API keys: who may call the HTTP API, and what for.

A key reads `tuma_<id>_<secret>`. Redis keeps its SHA-256 alone, in the hash `tuma:keys` (field: id,
value: JSON), so whoever reads the database cannot call us. The secret has 160 random bits: one fast hash
is enough. Keys from the settings are accepted with every scope, for a first start, and are never stored.
Knows nothing of HTTP.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from bot.engine.store import Client, guard
from bot.errors import NotFound, Problem, Refused

SCOPES = ("share", "read", "staff")
KEYS = "tuma:keys"

_ID_CHARACTERS = string.ascii_lowercase + string.digits
_ID_LENGTH = 8
_SHAPE = re.compile(r"tuma_([a-z0-9]{8})_[0-9a-f]{40}")
_MAX_NAME = 64


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key on record, without its secret.

    Scopes: `share` may hand in bills, `read` may look, `staff` may do what staff do.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    sha256: str


class ApiKeys:
    """Makes, lists, revokes and verifies keys. A revoked key stops working at once, in every process."""

    def __init__(self, redis: Client, configured: Iterable[str] = ()) -> None:
        self._redis = redis
        self._configured = tuple(_sha256(key) for key in configured)

    async def create(self, name: str, scopes: Iterable[str]) -> tuple[str, str]:
        """Make a key; answers (id, key), shown this once. Raises Refused, StoreUnavailable."""
        wanted = tuple(dict.fromkeys(scopes))
        _check(name, wanted)
        while True:
            key_id = "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_ID_LENGTH))
            key = f"tuma_{key_id}_{secrets.token_hex(20)}"
            record = _Stored(name=name, scopes=wanted, created_at=datetime.now(UTC), sha256=_sha256(key))
            with guard():
                if await self._redis.hsetnx(KEYS, key_id, _encode(record)):
                    return key_id, key

    async def list(self) -> list[ApiKey]:
        """Every stored key, oldest first, without those of the settings. Raises StoreUnavailable."""
        with guard():
            records = await self._redis.hgetall(KEYS)
        keys = [_view(_text(key_id), _decode(value)) for key_id, value in records.items()]
        return sorted(keys, key=lambda key: (key.created_at, key.id))

    async def revoke(self, key_id: str) -> None:
        """Make a key useless from now on. Raises NotFound, StoreUnavailable."""
        with guard():
            removed = await self._redis.hdel(KEYS, key_id)
        if not removed:
            raise NotFound(f"no API key with the id {key_id}")

    async def verify(self, key: str) -> ApiKey | None:
        """The record of a key that is right, else None. Constant in time. Raises StoreUnavailable."""
        digest = _sha256(key)
        # Every configured key is compared, so that the time does not tell which one nearly matched.
        if any([hmac.compare_digest(digest, own) for own in self._configured]):
            return _CONFIGURED
        shape = _SHAPE.fullmatch(key)
        record = await self._read(shape[1]) if shape else None
        if shape is None or record is None or not hmac.compare_digest(digest, record.sha256):
            return None
        return _view(shape[1], record)

    async def _read(self, key_id: str) -> _Stored | None:
        with guard():
            value = await self._redis.hget(KEYS, key_id)
        return None if value is None else _decode(value)


_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_CONFIGURED = ApiKey(id="settings", name="TUMA_API_KEYS", scopes=SCOPES, created_at=_EPOCH)


def _check(name: str, scopes: tuple[str, ...]) -> None:
    problems = []
    if not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
        right = f"1 to {_MAX_NAME} printable characters"
        problems.append(Problem(field="name", message="not a name for a key", given=name, expected=right))
    if not scopes or not set(scopes) <= set(SCOPES):
        right = f"one or more of {', '.join(SCOPES)}"
        given = " ".join(scopes)
        problems.append(Problem(field="scopes", message="unknown, or none", given=given, expected=right))
    if problems:
        raise Refused(*problems)


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _encode(record: _Stored) -> str:
    return msgspec.json.encode(record).decode()


def _decode(value: bytes | str) -> _Stored:
    return msgspec.json.decode(value, type=_Stored)


def _view(key_id: str, record: _Stored) -> ApiKey:
    return ApiKey(id=key_id, name=record.name, scopes=record.scopes, created_at=record.created_at)
