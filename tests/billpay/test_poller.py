from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from bot.billpay.client import ClickPesa
from bot.billpay.errors import BudgetSpent, ClickPesaAway
from bot.billpay.poller import HintVerifier
from bot.domain.bill import PaymentEvent, SettleResult
from bot.engine.engine import Engine
from tests.billpay.servers import Server, payment


class Payments:
    """Hints and payments in memory, behind the signatures that the verifier asks for."""

    def __init__(self, *hinted: str) -> None:
        self.hinted = dict.fromkeys(hinted)
        self.settled: list[PaymentEvent] = []

    async def hints_due(self, limit: int) -> list[str]:
        return list(self.hinted)[:limit]

    async def hint_done(self, number: str) -> None:
        self.hinted.pop(number, None)

    async def settle(self, event: PaymentEvent) -> SettleResult:
        known = any(set(event.ids) & set(other.ids) for other in self.settled)
        self.settled.append(event)
        return SettleResult(outcome="repeated" if known else "settled", payment=event.ids[0])


def verifier(client: ClickPesa, payments: Payments, **changed: Any) -> HintVerifier:
    return HintVerifier(client, payments, **{"waits_s": (0, 0), "idle_s": 0.01, **changed})


async def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.005)


async def test_a_hint_that_clickpesas_list_confirms_is_settled(server: Server, client: ClickPesa) -> None:
    server.listed["N1"] = [payment("A", "N1")]
    payments = Payments("N1")
    assert await verifier(client, payments).sweep() == 1
    assert [(event.ids[0], event.source) for event in payments.settled] == [("A", "list")]
    assert not payments.hinted


async def test_a_hint_that_is_not_confirmed_settles_nothing_and_is_given_up(
    server: Server, client: ClickPesa
) -> None:
    payments = Payments("N1")
    verifying = verifier(client, payments)
    for _ in range(3):
        await verifying.sweep()
    assert (payments.settled, payments.hinted) == ([], {})
    assert server.calls["payments N1"] == 3


async def test_a_number_is_not_asked_about_again_before_its_wait_is_over(
    server: Server, client: ClickPesa
) -> None:
    verifying = verifier(client, Payments("N1"), waits_s=(600,))
    assert [await verifying.sweep(), await verifying.sweep()] == [1, 0]


async def test_a_payment_that_is_listed_late_is_still_settled(server: Server, client: ClickPesa) -> None:
    payments = Payments("N1")
    verifying = verifier(client, payments)
    await verifying.sweep()
    server.listed["N1"] = [payment("A", "N1")]
    await verifying.sweep()
    assert len(payments.settled) == 1
    assert not payments.hinted


async def test_an_old_payment_on_the_list_does_not_end_the_search_for_the_new_one(
    server: Server, client: ClickPesa
) -> None:
    server.listed["N1"] = [payment("A", "N1")]
    payments = Payments("N1")
    verifying = verifier(client, payments)
    await verifying.sweep()
    payments.hinted["N1"] = None
    await verifying.sweep()
    assert "N1" in payments.hinted


@pytest.mark.parametrize("status", ["PENDING", "PROCESSING", "ON-HOLD", "NEW-WORD"])
async def test_what_is_not_final_is_not_acted_on(server: Server, client: ClickPesa, status: str) -> None:
    server.listed["N1"] = [payment("A", "N1", status)]
    payments = Payments("N1")
    await verifier(client, payments).sweep()
    assert not payments.settled


@pytest.mark.parametrize(("age", "told"), [(timedelta(seconds=5), 1), (timedelta(hours=2), 0)])
async def test_only_a_fresh_failure_is_news(
    server: Server, client: ClickPesa, age: timedelta, told: int
) -> None:
    at = (datetime.now(UTC) - age).isoformat()
    server.listed["N1"] = [payment("A", "N1", "FAILED", createdAt=at)]
    payments = Payments("N1")
    await verifier(client, payments).sweep()
    assert len(payments.settled) == told


class Spent:
    """A budget that is used up after some requests."""

    def __init__(self, left: int) -> None:
        self.left, self.asked = left, Counter[str]()

    async def take(self, urgency: str) -> float:
        self.asked[urgency] += 1
        self.left -= 1
        return 0.0 if self.left >= 0 else 60.0

    async def rest(self, seconds: float) -> None:
        self.left = 0


async def test_a_flood_of_hints_keeps_to_what_the_budget_leaves_hints(server: Server) -> None:
    budget = Spent(4)  # one of them for the token
    async with server.client(budget=budget) as client:
        with pytest.raises(BudgetSpent) as spent:
            await verifier(client, Payments(*(f"N{n}" for n in range(50)))).sweep()
    assert spent.value.retry_after_s == 60
    assert budget.asked == {"now": 1, "hint": 4}
    assert server.calls.total() == 4


async def test_hints_stay_while_clickpesa_is_away(server: Server, client: ClickPesa) -> None:
    server.answers = [web.Response(status=503)]
    payments = Payments("N1")
    with pytest.raises(ClickPesaAway):
        await verifier(client, payments).sweep()
    assert "N1" in payments.hinted


async def test_the_verifier_runs_until_it_is_stopped(server: Server, client: ClickPesa) -> None:
    payments, stop = Payments(), asyncio.Event()
    running = asyncio.create_task(verifier(client, payments).run(stop))
    server.listed["N1"] = [payment("A", "N1")]
    payments.hinted["N1"] = None
    await until(lambda: not payments.hinted)
    stop.set()
    await asyncio.wait_for(running, 5)
    assert len(payments.settled) == 1


async def test_one_process_verifies_and_another_goes_on_when_it_stops(
    server: Server, client: ClickPesa, engine: Engine
) -> None:
    payments, first, second = Payments("N1"), asyncio.Event(), asyncio.Event()
    one = asyncio.create_task(verifier(client, payments, leases=engine.leases).run(first))
    await until(lambda: server.calls["payments N1"] > 0)
    other = asyncio.create_task(verifier(client, payments, leases=engine.leases, waits_s=()).run(second))
    await until(lambda: not payments.hinted)
    assert server.calls["payments N1"] == 3
    first.set()
    await asyncio.wait_for(one, 5)
    payments.hinted["N2"] = None
    await until(lambda: not payments.hinted)
    assert server.calls["payments N2"] == 1
    second.set()
    await asyncio.wait_for(other, 5)
