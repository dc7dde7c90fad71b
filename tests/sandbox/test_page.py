"""The page's HTTP side: what it shows, what it does, what it refuses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from bot.sandbox.city import Sandbox
from bot.sandbox.page_view import MAX_PEOPLE, view
from bot.sandbox.world import Message
from tests.plain import PLAIN
from tests.sandbox.conftest import Clock, Tuma

ASHA = "+255754000001"
BILL = "55042914871931"


@pytest.fixture
async def page(city: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(verify=PLAIN, base_url=city.urls["page"]) as http:
        yield http


def sms(city: Sandbox, text: str, channel: str = "sms", **more: Any) -> Message:
    message = Message(
        provider="twilio",
        channel=channel,
        id=f"SM{len(city.world.messages)}",
        address=ASHA,
        sender="TUMA",
        text=text,
        at=city.world.clock(),
        arrived=True,
        **more,
    )
    city.world.accept(message)
    return message


def mail(city: Sandbox, html: str = "<p>Habari</p>", headers: list[tuple[str, str]] | None = None) -> Message:
    extra = {"subject": "Ada", "html": html, "headers": headers or [], "attachments": []}
    message = Message(
        provider="smtp",
        channel="email",
        id="M1",
        address="asha@example.com",
        sender="bili@shule.test",
        text="Habari",
        at=datetime.now(UTC),
        extra=extra,
    )
    city.world.accept(message)
    return message


async def test_the_document_and_its_parts_allow_nothing_foreign(page: httpx.AsyncClient) -> None:
    for path, kind in (("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")):
        answer = await page.get(path)
        assert answer.headers["Content-Type"].startswith(kind)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "")


async def test_the_state_has_people_with_screens_and_bills(city: Sandbox, page: httpx.AsyncClient) -> None:
    city.world.person("Asha", phone=ASHA, email="asha@example.com")
    sms(city, f"Lipa TZS 45,000 kwa {BILL}. Acha: http://t.test/out/3-x.sms")
    [person] = (await page.get("/api/state")).json()["people"]
    assert (person["name"], [each["text"][:4] for each in person["sms"]]) == ("Asha", ["Lipa"])
    assert (person["bills"][0]["number"], person["bills"][0]["amount"]) == (BILL, "45000")
    assert person["out"] == "http://t.test/out/3-x.sms"


async def test_paying_through_the_page_tells_tuma(city: Sandbox, page: httpx.AsyncClient, tuma: Tuma) -> None:
    city.connect(tuma.url)
    city.bill(BILL, 45000)
    body = {"number": BILL, "amount": "45,000", "wallet": "M-PESA"}
    assert (await page.post("/api/pay", json=body)).json()["ok"] is True
    data = json.loads(tuma.calls[0].body)["data"]
    assert (data["collectedAmount"], data["channel"]) == ("45000", "M-PESA")


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("pay", {"number": BILL, "amount": "much"}, "not a number"),
        ("pay", {"number": "1", "amount": 1}, "there is no bill"),
        ("pay", {"number": BILL}, "amount is missing"),
        ("faults", {"provider": "x", "mode": "ok"}, "unknown provider"),
        ("faults", {"provider": "twilio", "mode": "x"}, "not a valid Mode"),
        ("faults", {"provider": "twilio", "kind": "x", "rate": 1}, "unknown fault"),
        ("faults", {"provider": "twilio", "kind": "slow", "rate": 2}, "from 0 to 1"),
        ("faults", {"provider": "twilio", "kind": "slow"}, "rate is missing"),
        ("profile", {"name": "sunny"}, "unknown profile"),
        ("profile", {"name": "calm", "seed": "x"}, "invalid literal"),
        ("forge", {"number": "1"}, "there is no bill"),
        ("whatsapp", {"phone": ASHA, "text": " "}, "no text"),
        ("telegram/press", {"chat": 5, "message": 9, "data": "x"}, "9 is missing"),
        ("unsubscribe", {"mail": "none"}, "one-click"),
        ("people", {"nickname": "x"}, "nickname"),
    ],
)
async def test_what_cannot_be_done_says_why(page: httpx.AsyncClient, path: str, body: Any, word: str) -> None:
    answer = await page.post(f"/api/{path}", json=body)
    assert answer.status_code == 400
    assert word in answer.json()["error"]


async def test_another_website_may_not_act(city: Sandbox, page: httpx.AsyncClient) -> None:
    body = {"provider": "twilio", "mode": "failing"}
    foreign = await page.post("/api/faults", json=body, headers={"Origin": "https://evil.test"})
    form = await page.post("/api/faults", data=body)
    assert (foreign.status_code, form.status_code) == (403, 415)
    assert city.faults.modes()["twilio"] == "ok"


async def test_faults_are_set_through_the_page(city: Sandbox, page: httpx.AsyncClient) -> None:
    await page.post("/api/faults", json={"provider": "smtp", "mode": "throttling"})
    assert city.faults.modes()["smtp"] == "throttling"


async def test_faults_by_rate_and_on_demand_are_set_through_the_page(
    city: Sandbox, page: httpx.AsyncClient
) -> None:
    await page.post("/api/faults", json={"provider": "smtp", "kind": "drop-after", "rate": 0.25})
    await page.post(
        "/api/faults", json={"provider": "twilio", "kind": "timeout-after", "next": 2, "contact": ASHA}
    )
    told = (await page.get("/api/faults")).json()
    assert [(plan["kind"], plan["contact"], plan["rate"], plan["left"]) for plan in told["plans"]] == [
        ("timeout-after", ASHA, 0.0, 2),
        ("drop-after", None, 0.25, 0),
    ]
    assert (told["profile"], told["seed"]) == ("custom", city.faults.seed)
    assert {"name": "forbidden", "point": "send", "words": "403, blocked by the user"} in told["kinds"][
        "telegram"
    ]
    assert (await page.post("/api/faults/clear", json={})).json() == {"ok": True}
    assert city.faults.plans() == []


async def test_a_profile_is_used_through_the_page(city: Sandbox, page: httpx.AsyncClient) -> None:
    await page.post("/api/profile", json={"name": "storm", "seed": 7})
    assert (city.faults.profile, city.faults.seed) == ("storm", 7)
    assert (await page.get("/api/state")).json()["weather"]["profile"] == "storm"


async def test_a_believed_forgery_is_told(city: Sandbox, page: httpx.AsyncClient, tuma: Tuma) -> None:
    city.connect(tuma.url)
    city.bill(BILL, 45000)
    tuma.status = 401
    assert (await page.post("/api/forge", json={"number": BILL})).json() == {"ok": True}
    tuma.status = 200
    assert "believed" in (await page.post("/api/forge", json={"number": BILL})).json()["error"]


async def test_people_bills_and_tumas_place_can_be_set_over_http(
    city: Sandbox, page: httpx.AsyncClient
) -> None:
    await page.post("/api/people", json={"name": "Asha", "chat": 5, "started": True})
    await page.post("/api/bills", json={"number": BILL, "amount": 100, "kind": "customer", "exact": True})
    await page.post("/api/connect", json={"tuma": "http://127.0.0.1:8000"})
    assert city.telegram.chats.of(5).started
    assert (city.clickpesa.bills[BILL].kind, city.clickpesa.bills[BILL].mode) == ("customer", "EXACT")
    assert city.wallet.webhook_url == "http://127.0.0.1:8000/webhooks/clickpesa"


async def test_telegram_is_used_through_the_page(city: Sandbox, page: httpx.AsyncClient) -> None:
    await page.post("/api/telegram/start", json={"chat": 5, "payload": "3-abc"})
    await page.post("/api/telegram/write", json={"chat": 5, "text": "acha"})
    await page.post("/api/telegram/block", json={"chat": 5, "blocked": True})
    assert [each.text for each in city.world.screen("telegram", "5")] == ["/start 3-abc", "acha"]
    assert city.telegram.chats.of(5).blocked


async def test_a_mail_is_served_without_scripts_or_requests(city: Sandbox, page: httpx.AsyncClient) -> None:
    mail(city, "<script>alert(1)</script><p>Habari</p>")
    answer = await page.get("/mail/M1")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-popups")
    assert "allow-scripts" not in policy
    assert "default-src 'none'" in policy
    assert (await page.get("/mail/none")).status_code == 404


async def test_one_click_unsubscribe_posts_as_a_mail_provider_does(
    city: Sandbox, page: httpx.AsyncClient, tuma: Tuma
) -> None:
    headers = [
        ("List-Unsubscribe", f"<mailto:x@y.test>, <{tuma.url}/out/3-x.email>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    ]
    mail(city, headers=headers)
    assert (await page.post("/api/unsubscribe", json={"mail": "M1"})).json() == {"ok": True}
    assert (tuma.calls[0].path, tuma.calls[0].body) == ("/out/3-x.email", b"List-Unsubscribe=One-Click")


async def test_events_say_when_something_changed(city: Sandbox, page: httpx.AsyncClient) -> None:
    async with page.stream("GET", "/api/events") as stream:
        lines = stream.aiter_lines()
        first = await anext(line async for line in lines if line.startswith("data"))
        city.world.person("Asha", phone=ASHA)
        second = await anext(line async for line in lines if line.startswith("data"))
    assert int(second.split()[1]) > int(first.split()[1])


async def test_the_record_is_there_to_be_counted(city: Sandbox, page: httpx.AsyncClient) -> None:
    sms(city, "moja", reference="m=1-x.1&a=1")
    sms(city, "mbili", channel="whatsapp")
    lines = (await page.get("/api/accepted", params={"channel": "sms"})).text.splitlines()
    assert [(json.loads(line)["text"], json.loads(line)["reference"]) for line in lines] == [
        ("moja", "m=1-x.1&a=1")
    ]


async def test_after_paying_the_page_counts_what_still_came(city: Sandbox, clock: Clock) -> None:
    city.bill(BILL, 45000)
    for seconds in (0, 3):
        clock.ahead = timedelta(seconds=seconds)
        sms(city, f"Lipa TZS 45,000 kwa {BILL}")
    clock.ahead = timedelta(seconds=4)
    await city.pay(BILL, 45000)
    sms(city, f"Asante kwa kulipa {BILL}")
    after = view(city)["people"][0]["bills"][0]["after"]
    assert (after["before"], [each["channel"] for each in after["receipts"]], after["more"]) == (
        2,
        ["sms"],
        0,
    )
    assert after["paid_at"] < after["next"] < after["paid_at"] + 3000
    sms(city, f"Kumbusho: {BILL}")
    assert view(city)["people"][0]["bills"][0]["after"]["more"] == 1


async def test_people_are_found_by_name_phone_and_number(city: Sandbox) -> None:
    city.world.person("Asha", phone=ASHA)
    city.world.person("Juma", phone="+255713000002")
    sms(city, f"Lipa TZS 45,000 kwa {BILL}")
    for words in ("ash", "754000", BILL[:6]):
        assert [each["name"] for each in view(city, words)["people"]] == ["Asha"]


async def test_a_large_run_does_not_drown_the_page(city: Sandbox) -> None:
    for number in range(MAX_PEOPLE + 5):
        city.world.person(f"P{number}", phone=f"+2557540{number:05}")
    state = view(city)
    assert (len(state["people"]), state["total"]) == (MAX_PEOPLE, MAX_PEOPLE + 5)
