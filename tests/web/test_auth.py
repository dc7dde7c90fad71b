"""Who may call what."""

from __future__ import annotations

import pytest

from tests.web.conftest import Site, a_share, redis_keys, shared

CALLS = [
    ("POST", "/v1/shares", "share"),
    ("POST", "/v1/shares/bulk", "share"),
    ("GET", "/v1/shares/web-0", "read"),
    ("GET", "/v1/bills/123", "read"),
    ("POST", "/v1/bills/123/stop", "share"),
    ("GET", "/v1/messages/0-x", "read"),
]


@pytest.mark.parametrize(("method", "path", "scope"), CALLS)
async def test_without_a_key_every_call_is_401(site: Site, method: str, path: str, scope: str) -> None:
    async with site.stranger.request(method, path) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="tuma"'
        assert response.content_type == "application/problem+json"
        assert (await response.json())["title"] == "An API key is needed"


@pytest.mark.parametrize(("method", "path", "scope"), CALLS)
async def test_a_key_without_the_scope_is_403(site: Site, method: str, path: str, scope: str) -> None:
    other = "read" if scope == "share" else "share"
    _, key = await site.engine.api_keys.create("other", [other])
    headers = {"Authorization": f"Bearer {key}"}
    async with site.stranger.request(method, path, headers=headers) as response:
        assert response.status == 403
        assert scope in (await response.json())["detail"]


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "Bearer wrong", "Basic YTpi", "bearer tuma_abcdefgh_" + "0" * 40, "\udcff"],
)
async def test_a_header_that_is_no_key_is_401(site: Site, header: str) -> None:
    async with site.stranger.get("/v1/bills/1", headers={"Authorization": header}) as response:
        assert response.status == 401


async def test_a_key_that_is_wrong_is_told_from_one_that_is_missing(site: Site) -> None:
    async with site.stranger.get("/v1/bills/1", headers={"Authorization": "Bearer wrong"}) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="tuma", error="invalid_token"'
        problem = await response.json()
    assert (problem["type"], problem["title"]) == ("/docs#unknown-key", "This API key is not known")


async def test_a_key_with_just_the_scope_is_enough(site: Site) -> None:
    answer = await shared(site)
    _, key = await site.engine.api_keys.create("reader", ["read"])
    headers = {"Authorization": f"bearer {key}"}
    async with site.stranger.get(f"/v1/shares/{answer['id']}", headers=headers) as response:
        assert response.status == 200


async def test_a_revoked_key_is_401_from_the_next_call_on(site: Site) -> None:
    key_id, key = await site.engine.api_keys.create("shop", ["share"])
    headers = {"Authorization": f"Bearer {key}"}
    async with site.stranger.post("/v1/shares", json=a_share(), headers=headers) as response:
        assert response.status == 202
    await site.engine.api_keys.revoke(key_id)
    async with site.stranger.post("/v1/shares", json=a_share(), headers=headers) as response:
        assert response.status == 401


async def test_the_stop_is_written_down_with_the_keys_name(site: Site) -> None:
    answer = await shared(site)
    _, key = await site.engine.api_keys.create("till", ["staff"])
    headers = {"Authorization": f"Bearer {key}"}
    async with site.stranger.post(f"/v1/bills/{answer['number']}/stop", headers=headers) as response:
        assert response.status == 200
    audit = str([await site.engine.redis.xrange(name) for name in await redis_keys(site, "tuma:*audit*")])
    assert "key:till" in audit
    assert key not in audit
