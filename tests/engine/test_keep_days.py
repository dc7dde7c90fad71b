"""How long what is over is kept, as the merchant set it, and what that must never cost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.bill import BillKind
from bot.engine import keys
from bot.engine.engine import Engine
from bot.engine.retention import Retention
from bot.errors import ConfigError
from bot.settings import Settings, load
from tests.engine.conftest import job, paid, settings_for

DAY = 86_400
PHONE = "+255754120001"


@pytest.fixture
async def short(redis_url: str) -> AsyncIterator[Engine]:
    """An engine that keeps what is over for 45 days."""
    opened = await Engine.open(settings_for(redis_url, keep_days=45))
    yield opened
    await opened.close()


async def _days(engine: Engine, number: str, key: str) -> float:
    left: float = await engine.records.client.ttl(f"{keys.prefix(engine.records.partition(number))}{key}")
    return round(left / DAY, 2) if left >= 0 else left


@pytest.mark.parametrize(("days", "share_days"), [(400, 90), (45, 45)])
async def test_what_is_paid_is_kept_for_as_long_as_was_set(
    redis_url: str, days: int, share_days: int
) -> None:
    engine = await Engine.open(settings_for(redis_url, keep_days=days))
    try:
        accepted = await engine.shares.accept(job("100"))
        assert await _days(engine, "100", "a:100") < 0, "an unpaid bill stays"
        result = await engine.payments.settle(paid("100"))
        sid = accepted.token.partition("-")[2]
        assert await _days(engine, "100", "a:100") == days
        assert await _days(engine, "100", f"p:{result.payment}") == days
        assert await _days(engine, "100", f"s:{sid}") == share_days
    finally:
        await engine.close()


async def test_money_that_nobody_has_placed_is_kept_for_400_days_all_the_same(short: Engine) -> None:
    result = await short.payments.settle(paid("100"))
    assert await _days(short, "100", f"p:{result.payment}") == 400
    index = f"{keys.prefix(short.records.partition('100'))}um"
    await short.records.client.zincrby(index, -50 * DAY * 1000, result.payment)
    retention = Retention(short.records, 45)
    for _ in range(short.partitions):
        await retention.turn()
    assert [row.id for row in await short.payments.unmatched()] == [result.payment]


async def test_what_waits_for_staff_keeps_its_names_and_its_days_when_it_is_told_again(short: Engine) -> None:
    first = await short.payments.settle(paid("100", id="a"))
    # All that has 45 days or less goes, as in 45 days; what staff must place does not.
    for status in ("SUCCESS", "SETTLED", "SETTLED"):
        async for key in short.records.client.scan_iter("tuma:*"):
            if 0 < await short.records.client.ttl(key) <= 45 * DAY:
                await short.records.client.delete(key)
        again = await short.payments.settle(paid("100", id="a", status=status))
        assert again.payment == first.payment
        assert await _days(short, "100", f"p:{first.payment}") == 400
    assert len(await short.payments.unmatched()) == 1


@pytest.mark.parametrize(("days", "listed"), [(45, 400), (500, 500)])
async def test_a_longer_term_holds_for_undecided_money_too(redis_url: str, days: int, listed: int) -> None:
    engine = await Engine.open(settings_for(redis_url, keep_days=days))
    try:
        result = await engine.payments.settle(paid("100"))
        assert await _days(engine, "100", f"p:{result.payment}") == listed
        index = f"{keys.prefix(engine.records.partition('100'))}um"
        await engine.records.client.zincrby(index, -(listed - 1) * DAY * 1000, result.payment)
        retention = Retention(engine.records, days)
        for _ in range(engine.partitions):
            await retention.turn()
        assert [row.id for row in await engine.payments.unmatched()] == [result.payment]
    finally:
        await engine.close()


async def test_an_old_payment_of_a_customer_number_is_not_counted_a_second_time(short: Engine) -> None:
    # The number lives on with its next term when everything known of the first term's payment has gone.
    await short.shares.accept(job("100", kind=BillKind.CUSTOMER, term="1", phone=PHONE))
    event = paid("100", id="first", created_at=datetime.now(UTC) - timedelta(days=46))
    result = await short.payments.settle(event)
    assert result.reason == "older than what is kept"
    await short.payments.match(result.payment, "100", by="cli")
    prefix = keys.prefix(short.records.partition("100"))
    await short.shares.accept(job("100", kind=BillKind.CUSTOMER, term="2", phone=PHONE))
    for key in [k async for k in short.records.client.scan_iter(f"{prefix}[px]*:*")]:
        await short.records.client.delete(key)
    again = await short.payments.settle(event)
    assert (again.outcome, again.reason) == ("unmatched", "older than what is kept")
    bill = await short.bills.get("100")
    assert bill.balance == bill.terms[1].amount


async def test_money_of_an_order_number_settles_however_late_it_is_told(short: Engine) -> None:
    await short.shares.accept(job("100"))
    late = paid("100", created_at=datetime.now(UTC) - timedelta(days=46))
    assert (await short.payments.settle(late)).outcome == "settled"


@pytest.mark.parametrize("given", ["39", "0", "-1", "45.5", "a year"])
def test_a_term_shorter_than_receipts_and_reversals_take_is_refused(
    given: str,
) -> None:
    with pytest.raises(ConfigError, match=r"TUMA_KEEP_DAYS.*expected a whole number of days, 40 or more"):
        load({"TUMA_KEEP_DAYS": given}, dotenv=None)


def test_by_default_it_is_400_days() -> None:
    assert Settings().keep_days == 400
