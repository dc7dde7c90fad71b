"""Keys are made once, checked by hash, and gone when revoked."""

from __future__ import annotations

import pytest

from bot.engine.api_keys import KEYS
from bot.errors import NotFound, Refused
from tests.web.conftest import KEY, Site


async def test_a_new_key_is_verified_with_its_scopes(site: Site) -> None:
    key_id, key = await site.engine.api_keys.create("shop", ["share", "read"])
    found = await site.engine.api_keys.verify(key)
    assert found is not None
    assert (found.id, found.name, found.scopes) == (key_id, "shop", ("share", "read"))


async def test_the_database_does_not_hold_the_key(site: Site) -> None:
    _, key = await site.engine.api_keys.create("shop", ["read"])
    stored = str(await site.engine.redis.hgetall(KEYS))
    assert key not in stored
    assert key.rpartition("_")[2] not in stored


async def test_a_key_with_another_secret_is_refused(site: Site) -> None:
    _, key = await site.engine.api_keys.create("shop", ["read"])
    last = "0" if key[-1] != "0" else "1"
    assert await site.engine.api_keys.verify(key[:-1] + last) is None


@pytest.mark.parametrize(
    "text", ["", "tuma", "tuma_abcdefgh_", "tuma_abcdefgh_" + "0" * 40, "\udcff", "é" * 900]
)
async def test_what_is_no_key_is_refused(site: Site, text: str) -> None:
    assert await site.engine.api_keys.verify(text) is None


async def test_a_revoked_key_stops_working_at_once(site: Site) -> None:
    key_id, key = await site.engine.api_keys.create("shop", ["read"])
    await site.engine.api_keys.revoke(key_id)
    assert await site.engine.api_keys.verify(key) is None
    assert await site.engine.api_keys.list() == []


async def test_revoking_an_unknown_key_says_so(site: Site) -> None:
    with pytest.raises(NotFound, match="nothing1"):
        await site.engine.api_keys.revoke("nothing1")


async def test_keys_are_listed_oldest_first_without_their_secrets(site: Site) -> None:
    made = [(await site.engine.api_keys.create(name, ["read"]))[0] for name in ("one", "two", "three")]
    assert [key.id for key in await site.engine.api_keys.list()] == made


async def test_a_key_from_the_settings_has_every_scope_and_is_not_stored(site: Site) -> None:
    found = await site.engine.api_keys.verify(KEY)
    assert found is not None
    assert found.scopes == ("share", "read", "staff")
    assert await site.engine.redis.exists(KEYS) == 0


@pytest.mark.parametrize(
    ("name", "scopes", "fields"),
    [
        ("", ["read"], ["name"]),
        ("shop\n", ["read"], ["name"]),
        ("shop", [], ["scopes"]),
        (" ", ["root"], ["name", "scopes"]),
    ],
)
async def test_a_key_needs_a_name_and_known_scopes(
    site: Site, name: str, scopes: list[str], fields: list[str]
) -> None:
    with pytest.raises(Refused) as refused:
        await site.engine.api_keys.create(name, scopes)
    assert [problem.field for problem in refused.value.problems] == fields
