"""What every request passes: headers, limits, errors, the log."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from bot.web.bodies import Limits
from tests.web.conftest import Serve, Site, a_share, shared


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/v1/shares/x", "/pay/x", "/docs", "/metrics"])
async def test_every_answer_has_the_safety_headers(site: Site, path: str) -> None:
    async with site.stranger.get(path) as response:
        headers = response.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Cache-Control"] == "no-store"
    assert headers["Strict-Transport-Security"] == "max-age=31536000"
    assert headers["Server"] == "tuma"


async def test_browsers_are_not_bound_to_https_where_there_is_none(serve: Serve) -> None:
    site = await serve(public_url="http://127.0.0.1:8000")
    async with site.stranger.get("/healthz") as response:
        assert "Strict-Transport-Security" not in response.headers


async def test_an_unknown_address_is_a_problem_too(site: Site) -> None:
    async with site.stranger.get("/nowhere") as response:
        assert response.status == 404
        assert await response.json() == {
            "type": "/docs#not-found",
            "title": "There is no such thing",
            "status": 404,
        }


async def test_a_wrong_method_is_405_and_names_the_right_ones(site: Site) -> None:
    async with site.stranger.delete("/pay/x") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET,HEAD"
        assert response.content_type == "application/problem+json"


async def test_head_works_where_get_does(site: Site) -> None:
    async with site.stranger.head("/healthz") as response:
        assert response.status == 200


async def test_a_body_that_comes_too_slowly_is_408(serve: Serve) -> None:
    site = await serve(limits=Limits(body_s=0.2))
    never = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.wait_for(never.wait(), 30)

    async with site.http.post("/v1/shares", data=body()) as response:
        assert response.status == 408
        assert response.headers["Connection"] == "close"


async def test_a_small_body_that_unpacks_to_a_large_one_is_413(site: Site) -> None:
    bomb = gzip.compress(b" " * 20_000_000)
    async with site.http.post("/v1/shares", data=bomb, headers={"Content-Encoding": "gzip"}) as response:
        assert response.status == 413


async def test_a_broken_packed_body_is_400(site: Site) -> None:
    async with site.http.post("/v1/shares", data=b"junk", headers={"Content-Encoding": "gzip"}) as response:
        assert response.status == 400


async def test_without_a_length_the_limit_holds_all_the_same(site: Site) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 10_000

    async with site.http.post("/v1/shares", data=body()) as response:
        assert response.status == 413


async def test_the_log_holds_the_template_and_nothing_of_the_request(site: Site) -> None:
    job = a_share()
    with capture_logs() as lines:
        answer = await _share(site, job)
        for path in (f"/pay/{answer['token']}?lang=sw&secret=1", f"/out/{answer['token']}.email"):
            async with site.stranger.get(path) as response:
                assert response.status == 200
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["route"] for line in requests] == ["/v1/shares", "/pay/{token}", "/out/{token}"]
    assert [line["status"] for line in requests] == [202, 200, 200]
    text = str(lines)
    for secret in (
        answer["token"],
        job["customer"]["phone"],
        job["customer"]["email"],
        "a-key-with",
        "secret=1",
    ):
        assert secret not in text


async def _share(site: Site, job: dict[str, Any]) -> dict[str, Any]:
    async with site.http.post("/v1/shares", json=job) as response:
        found: dict[str, Any] = await response.json()
        return found


async def test_what_is_no_http_is_400_and_not_repeated_in_the_log(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(b"GARBAGE /pay/0-secrettoken HTTP/1.1\r\n\r\n")
    assert b" 400 " in await asyncio.wait_for(reader.readline(), 20)
    writer.close()
    assert "secrettoken" not in caplog.text


async def test_a_request_that_no_handler_sees_is_answered_with_a_problem_too(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    twice = b"Content-Type: application/json\r\n" * 2
    writer.write(b"POST /v1/shares HTTP/1.1\r\nHost: a\r\n" + twice + b"Content-Length: 0\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b" 400 " in head.partition(b"\r\n")[0]
    assert b"Content-Type: application/problem+json" in head
    problem = json.loads(body)
    assert (problem["status"], "Content-Type" in problem["detail"]) == (400, True)


async def test_our_own_faults_are_500_without_details_and_logged(serve: Serve) -> None:
    async def broken(update: dict[str, Any]) -> None:
        raise RuntimeError("the password is 1234")

    site = await serve(broken, telegram_webhook_secret="s")
    headers = {"X-Telegram-Bot-Api-Secret-Token": "s"}
    with capture_logs() as lines:
        async with site.stranger.post("/webhooks/telegram", json={}, headers=headers) as response:
            text = await response.text()
    assert response.status == 500
    assert "1234" not in text
    assert [line["error"] for line in lines if line["event"] == "request failed"] == ["RuntimeError"]


async def test_many_at_once_are_all_answered(site: Site) -> None:
    answers = await asyncio.gather(*(shared(site) for _ in range(40)))
    assert len({answer["token"] for answer in answers}) == 40
    assert (await site.engine.ledger.check()).ok
