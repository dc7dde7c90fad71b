"""Handing in one share, and looking at what became of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bot.engine.inbox import Inbox
from tests.web.conftest import Lonely, Site, a_share, shared


async def test_a_share_is_accepted_with_its_place_and_messages(site: Site) -> None:
    job = a_share(route={"mode": "all", "channels": ["sms", "email"]})
    async with site.http.post("/v1/shares", json=job) as response:
        answer = await response.json()
    assert response.status == 202
    assert response.headers["Location"] == f"/v1/shares/{job['id']}"
    assert answer["id"] == job["id"]
    assert answer["channels"] == ["sms", "email"]
    assert len(answer["messages"]) == 2
    assert answer["repeated"] is False


async def test_the_same_share_again_gets_the_same_answer(site: Site) -> None:
    job = a_share()
    answers = []
    for _ in range(2):
        async with site.http.post("/v1/shares", json=job) as response:
            assert response.status == 202
            answers.append(await response.json())
    assert answers[1].pop("repeated") is True
    answers[0].pop("repeated")
    assert answers[0] == answers[1]


async def test_the_same_id_with_other_content_is_409(site: Site) -> None:
    job = a_share()
    async with site.http.post("/v1/shares", json=job) as response:
        assert response.status == 202
    job["bill"]["amount"] = "46000"
    async with site.http.post("/v1/shares", json=job) as response:
        assert response.status == 409
        assert [error["field"] for error in (await response.json())["errors"]] == ["id"]


@pytest.mark.parametrize("header", ["web-key-1", '"web-key-1"'])
async def test_the_idempotency_key_is_the_id_of_a_body_without_one(site: Site, header: str) -> None:
    job = a_share()
    del job["id"]
    async with site.http.post("/v1/shares", json=job, headers={"Idempotency-Key": header}) as response:
        assert response.status == 202
        assert (await response.json())["id"] == "web-key-1"


async def test_header_and_body_must_name_the_same_id(site: Site) -> None:
    job = a_share(id="mine")
    async with site.http.post("/v1/shares", json=job, headers={"Idempotency-Key": "yours"}) as response:
        body = await response.json()
    assert response.status == 422
    assert body["errors"][0]["field"] == "id"
    assert body["errors"][0]["given"] == "mine"
    async with site.http.post("/v1/shares", json=job, headers={"Idempotency-Key": "mine"}) as response:
        assert response.status == 202


async def test_header_and_body_give_the_same_share(site: Site) -> None:
    job = a_share(id="one-way", data={"ratio": 0.25, "class": "4B"})
    async with site.http.post("/v1/shares", json=job) as response:
        assert response.status == 202
    del job["id"]
    async with site.http.post("/v1/shares", json=job, headers={"Idempotency-Key": "one-way"}) as response:
        assert (await response.json())["repeated"] is True


async def test_every_wrong_field_is_named_at_once(site: Site) -> None:
    job = a_share()
    job["bill"]["amount"] = "-5"
    job["customer"] = {"phone": "12"}
    job["colour"] = "blue"
    async with site.http.post("/v1/shares", json=job) as response:
        body = await response.json()
    assert response.status == 422
    assert response.content_type == "application/problem+json"
    assert body["type"] == "/docs#refused"
    assert body["status"] == 422
    assert {error["field"] for error in body["errors"]} >= {"bill.amount", "customer.phone", "colour"}
    assert all(error["message"] for error in body["errors"])


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'{"id": "\xff"}', b"\x00", b"[" * 60_000])
async def test_what_is_no_json_object_is_400(site: Site, raw: bytes) -> None:
    async with site.http.post("/v1/shares", data=raw) as response:
        assert response.status == 400
        assert (await response.json())["title"] == "The body is not understood"


async def test_a_share_shows_its_messages(site: Site) -> None:
    job = a_share(route={"mode": "all", "channels": ["sms"]})
    await site.http.post("/v1/shares", json=job)
    async with site.http.get(f"/v1/shares/{job['id']}") as response:
        view = await response.json()
    assert view["state"] == "active"
    assert [message["kind"] for message in view["messages"]] == ["instructions"]


async def test_a_message_is_found_by_the_id_of_the_answer(site: Site) -> None:
    answer = await shared(site)
    async with site.http.get(f"/v1/messages/{answer['messages'][0]}") as response:
        view = await response.json()
    assert (view["id"], view["share"]) == (answer["messages"][0], answer["id"])


async def test_a_bill_is_shown_by_its_number(site: Site) -> None:
    answer = await shared(site)
    async with site.http.get(f"/v1/bills/{answer['number']}") as response:
        view = await response.json()
    assert (view["number"], view["balance"], view["status"]) == (answer["number"], "45000", "open")
    assert view["shares"] == [answer["id"]]
    assert all("•••" in contact for contact in view["contacts"])


async def test_stopping_cancels_what_waits(site: Site) -> None:
    answer = await shared(site)
    async with site.http.post(f"/v1/bills/{answer['number']}/stop") as response:
        assert await response.json() == {"number": answer["number"], "canceled": 1}
    async with site.http.get(f"/v1/bills/{answer['number']}") as response:
        assert (await response.json())["status"] == "stopped"


@pytest.mark.parametrize(
    "path", ["/v1/shares/none", "/v1/bills/none", "/v1/messages/none", "/v1/messages/0-" + "a" * 16 + ".1"]
)
async def test_what_does_not_exist_is_404(site: Site, path: str) -> None:
    async with site.http.get(path) as response:
        assert response.status == 404
        assert (await response.json())["type"] == "/docs#not-found"


async def test_an_id_with_a_slash_can_be_looked_up(site: Site) -> None:
    job = a_share(id="2026/017")
    async with site.http.post("/v1/shares", json=job) as response:
        location = response.headers["Location"]
    async with site.http.get(location) as response:
        assert (await response.json())["id"] == "2026/017"


async def test_a_body_of_more_than_64_kib_is_413_before_it_is_read(site: Site) -> None:
    job: dict[str, Any] = a_share(data={"x": "y" * 70_000})
    async with site.http.post("/v1/shares", json=job) as response:
        assert response.status == 413
        assert "65536" in (await response.json())["detail"]


async def test_when_redis_is_away_the_answer_is_503_and_when_to_come_back(lonely: Lonely) -> None:
    site, server = lonely
    server.process.kill()
    async with site.http.post("/v1/shares", json=a_share()) as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "5"
        assert (await response.json())["type"] == "/docs#unavailable"


async def test_the_inbox_tells_the_same_problems_under_the_same_names(site: Site) -> None:
    first = a_share()
    async with site.http.post("/v1/shares", json=first) as response:
        assert response.status == 202
    other = {**first, "bill": {**first["bill"], "amount": "46000"}}
    inbox = Inbox(site.engine.records, site.engine.shares, site.engine.settings, "test")
    for job in ({"id": "x-1"}, other):
        async with site.http.post("/v1/shares", json=job) as response:
            told = await response.json()
        await inbox.take([("tuma:inbox", "1-1", {"job": json.dumps(job)})])
        [(_, rejected)] = await site.engine.records.client.xrevrange("tuma:rejected", count=1)
        assert json.loads(rejected["error"]) == told
