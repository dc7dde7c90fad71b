"""Bills over HTTP: made, changed, paid in cash, with each problem named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.app import clickpesa
from bot.billpay.maker import NumberMaker
from bot.domain.share import ShareJob, from_fields
from bot.sandbox.city import Sandbox
from tests.bills.conftest import until_found
from tests.web.conftest import Serve, Site, a_share, serve

__all__ = ["serve"]


@asynccontextmanager
async def making(site: Site) -> AsyncIterator[None]:
    stop, client = asyncio.Event(), clickpesa(site.engine, site.settings)
    running = asyncio.create_task(NumberMaker(client, site.engine.creations, bulk_wait_ms=50).run(stop))
    try:
        yield
    finally:
        stop.set()
        await running
        await client.close()


@pytest.fixture
async def site(serve: Serve, city: Sandbox) -> Site:
    """A server with ClickPesa beside it."""
    return await serve(**_at(city))


def _at(city: Sandbox, **more: object) -> dict[str, object]:
    account = city.accounts.clickpesa
    return {
        "clickpesa_client_id": account.client_id,
        "clickpesa_api_key": account.api_key,
        "clickpesa_checksum_key": account.checksum_key,
        "clickpesa_api_base": city.urls["clickpesa"],
        "create_answer_ms": 10_000,
        **more,
    }


NEW = {"id": "b-1", "create": "order", "amount": "45000", "description": "Term 2 fees"}


async def test_a_bill_is_made_once_and_told_where_it_is(site: Site, city: Sandbox) -> None:
    async with making(site):
        async with site.http.post("/v1/bills", json=NEW) as response:
            made = await response.json()
            assert (response.status, made["state"], made["repeated"]) == (201, "open", False)
            assert response.headers["Location"] == f"/v1/bills/{made['number']}"
        async with site.http.post("/v1/bills", json=NEW) as response:
            again = await response.json()
        async with site.http.post("/v1/bills", json={**NEW, "amount": "1"}) as response:
            [problem] = (await response.json())["errors"]
            assert (response.status, problem["field"], problem["given"]) == (409, "id", NEW["id"])
            assert "an id that is not used yet" in problem["expected"]
    assert (again["number"], again["repeated"]) == (made["number"], True)
    assert list(city.clickpesa.bills) == [made["number"]]
    async with site.http.get(f"/v1/bills/{made['number']}") as response:
        assert (await response.json())["balance"] == "45000"


async def test_while_nobody_makes_numbers_the_answer_is_202(serve: Serve, city: Sandbox) -> None:
    site = await serve(**_at(city, create_answer_ms=50))
    async with site.http.post("/v1/bills", json=NEW) as response:
        assert (response.status, (await response.json())["state"]) == (202, "creating")
    share = a_share()
    share["bill"] = {"create": "order", "amount": "45000"}
    async with site.http.post("/v1/shares", json=share) as response:
        accepted = await response.json()
        assert (response.status, accepted["state"], accepted["number"]) == (202, "creating", "")
    async with site.http.get(f"/v1/shares/{share['id']}") as response:
        assert (await response.json())["state"] == "creating"


async def test_a_share_is_answered_with_the_number_that_was_made(site: Site, city: Sandbox) -> None:
    share = a_share()
    share["bill"] = {"create": "customer", "amount": "45000"}
    async with making(site), site.http.post("/v1/shares", json=share) as response:
        accepted = await response.json()
    assert (response.status, accepted["state"]) == (202, "active")
    assert city.clickpesa.bills[accepted["number"]].customer_name == "Asha Juma"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"create": "customer"}, "customer"),
        ({"create": "gift"}, "create"),
        ({"amount": "0"}, "amount"),
        ({"currency": "USD"}, "currency"),
        ({"due_at": "tomorrow"}, "due_at"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_each_problem_of_a_new_bill_is_named(site: Site, change: dict[str, str], field: str) -> None:
    async with site.http.post("/v1/bills", json={**NEW, **change}) as response:
        problems = (await response.json())["errors"]
    assert response.status == 422
    assert field in {problem["field"] for problem in problems}


async def test_a_change_is_made_on_both_sides(serve: Serve, city: Sandbox) -> None:
    site = await serve(**_at(city))
    async with making(site), site.http.post("/v1/bills", json=NEW) as response:
        number = (await response.json())["number"]
    async with site.http.patch(f"/v1/bills/{number}", json={"amount": "60000"}) as response:
        changed = await response.json()
    assert (response.status, changed["clickpesa"], changed["bill"]["balance"]) == (200, "updated", "60000")
    assert city.clickpesa.bills[number].amount == 60000
    city.faults.rate("clickpesa", "error-before", 1.0)
    async with site.http.patch(f"/v1/bills/{number}", json={"amount": "70000"}) as response:
        assert (response.status, (await response.json())["type"]) == (503, "/docs#provider-away")


async def test_what_changes_nothing_or_cannot_be_is_refused(site: Site) -> None:
    async with making(site), site.http.post("/v1/bills", json=NEW) as response:
        number = (await response.json())["number"]
    for body, field in (
        ({}, "$"),
        ({"status": "GONE"}, "status"),
        ({"status": "INACTIVE", "amount": "1"}, "status"),
        ({"term": "2", "amount": "1"}, "term"),
        ({"term": "2"}, "amount"),
        ({"status": "INACTIVE", "due_at": None}, "status"),
        ({"reminders": {"before_due": ["soon"]}}, "reminders.before_due[0]"),
    ):
        async with site.http.patch(f"/v1/bills/{number}", json=body) as response:
            problems = (await response.json())["errors"]
        assert (response.status, problems[0]["field"]) == (422, field)
    async with site.http.patch("/v1/bills/1", json={"amount": "1"}) as response:
        [problem] = (await response.json())["errors"]
        assert (response.status, problem["field"], problem["given"]) == (404, "number", "1")


async def test_null_removes_the_due_time_and_the_reminders(site: Site) -> None:
    async with making(site), site.http.post("/v1/shares", json=due_share()) as response:
        number = (await response.json())["number"]
    assert (await site.engine.bills.get(number)).next_reminder_at is not None
    async with site.http.patch(f"/v1/bills/{number}", json={"due_at": None}) as response:
        bill = (await response.json())["bill"]
    assert (response.status, bill["terms"][0]["due_at"], bill["next_reminder_at"]) == (200, None, None)
    async with site.http.patch(f"/v1/bills/{number}", json={"description": "Fees"}) as response:
        assert (await response.json())["bill"]["terms"][0]["due_at"] is None


def due_share() -> dict[str, Any]:
    share = a_share(reminders={"before_due": ["P1D"]})
    due = datetime.now(UTC) + timedelta(days=9)
    share["bill"] = {"create": "order", "amount": "45000", "due_at": due.isoformat()}
    return share


async def test_cash_is_taken_back_with_a_note(site: Site) -> None:
    async with making(site), site.http.post("/v1/bills", json=NEW) as response:
        number = (await response.json())["number"]
    cash = {"id": "slip-118", "amount": "20000"}
    async with site.http.post(f"/v1/bills/{number}/payments", json=cash) as response:
        payment = (await response.json())["payment"]
    where = f"/v1/bills/{number}/payments/{payment}/take-back"
    async with site.http.post(where, json={}) as response:
        assert (response.status, (await response.json())["errors"][0]["field"]) == (422, "note")
    for wrong in (f"/v1/bills/1/payments/{payment}/take-back", f"/v1/bills/{number}/payments/x/take-back"):
        async with site.http.post(wrong, json={"note": "typo"}) as response:
            assert response.status == 404
    async with site.stranger.post(where, json={"note": "typo"}) as response:
        assert response.status == 401
    outcomes = []
    for _ in range(2):
        async with site.http.post(where, json={"note": "typed 20000 for 2000"}) as response:
            outcomes.append((await response.json())["outcome"])
    assert outcomes == ["advanced", "repeated"]
    bill = await site.engine.bills.get(number)
    assert (bill.balance, bill.payments[0].note) == ("45000", "taken back: typed 20000 for 2000")


async def test_cash_counts_once_under_its_id(site: Site) -> None:
    async with making(site), site.http.post("/v1/bills", json=NEW) as response:
        number = (await response.json())["number"]
    cash = {"id": "slip-118", "amount": "20000", "note": "slip 118"}
    outcomes = []
    for _ in range(2):
        async with site.http.post(f"/v1/bills/{number}/payments", json=cash) as response:
            outcomes.append((await response.json())["outcome"])
    assert outcomes == ["partial", "repeated"]
    async with site.stranger.post(f"/v1/bills/{number}/payments", json=cash) as response:
        assert response.status == 401
    bill = await site.engine.bills.get(number)
    assert (bill.balance, bill.payments[0].note) == ("25000", "slip 118")


async def test_a_refused_share_is_told_to_its_producer(site: Site) -> None:
    share = a_share(callback_url="https://shop.example/hook")
    share["bill"] = {"create": "customer", "amount": "45000"}
    share["customer"].pop("email")
    share["customer"]["phone"] = "+254712345678"
    await site.engine.shares.accept(_job(share, site))
    [wanted] = await site.engine.creations.urgent(1)
    await site.engine.creations.refused(wanted, "ClickPesa answered 400: no")
    events = await until_found(lambda: site.engine.events.take(5))
    assert ('"type":"share.refused"' in events[0].body, "no" in events[0].body) == (True, True)
    await site.engine.events.delivered(events[0])
    assert await site.engine.events.take(5) == []


def _job(share: dict[str, object], site: Site) -> ShareJob:
    return from_fields(share, settings=site.settings)
