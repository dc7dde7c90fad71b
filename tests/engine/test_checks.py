"""Is this bill real: ours or not, how it stands, what is owed; and not too often."""

from __future__ import annotations

from decimal import Decimal

import pytest

from bot.domain.bill import BillStatus
from bot.engine.checks import MOST, WINDOW_S, Asker, Checked, TooOften
from bot.engine.engine import Engine
from tests.engine.conftest import job, paid


async def test_a_number_of_ours_says_status_and_what_is_owed(engine: Engine) -> None:
    await engine.shares.accept(job("5601", kind="customer"))
    await engine.payments.settle(paid("5601", "20000"))
    found = await engine.checks.ask("5601", "web", "a")
    assert found is not None
    assert found == Checked(BillStatus.OPEN, Decimal(25000), "TZS")


@pytest.mark.parametrize(
    ("amount", "status"), [("45000", "settled"), ("20000", "closed"), (None, "open"), ("0", "stopped")]
)
async def test_every_way_a_bill_can_stand_is_told(engine: Engine, amount: str | None, status: str) -> None:
    await engine.shares.accept(job("5602"))
    if amount == "0":
        await engine.bills.stop("5602", by="test")
    elif amount:
        await engine.payments.settle(paid("5602", amount))
    found = await engine.checks.ask("5602", "web", "a")
    assert found is not None
    assert found.status == status


@pytest.mark.parametrize(
    "typed",
    [
        "5504 2914 8719 31",
        " 55042914871931\n",
        "5504-2914-8719-31",
        "5504.2914871931",
        "5504 2914871931",
        "namba 55042914871931",
        "Na 5504 2914 8719 31 ya ada",
    ],
)
async def test_a_number_is_found_as_people_type_it(engine: Engine, typed: str) -> None:
    await engine.shares.accept(job("55042914871931"))
    assert await engine.checks.ask(typed, "web", "a") is not None


@pytest.mark.parametrize("typed", ["SOMA0001", "soma0001", "Soma 0001", "namba ni soma0001"])
@pytest.mark.parametrize("number", ["SOMA0001", "soma0001"])
async def test_capitals_make_no_difference(engine: Engine, number: str, typed: str) -> None:
    await engine.shares.accept(job(number))
    assert await engine.checks.ask(typed, "whatsapp", "a") is not None


@pytest.mark.parametrize("typed", ["5603", "", "*", "a" * 500, "👋", "5602\x00", "{0}"])
async def test_what_is_not_ours_is_nothing(engine: Engine, typed: str) -> None:
    await engine.shares.accept(job("5602"))
    assert await engine.checks.ask(typed, "web", "a") is None


@pytest.mark.parametrize("kind", ["web", "telegram", "whatsapp"])
async def test_an_asker_has_a_window_and_others_have_their_own(engine: Engine, kind: Asker) -> None:
    await engine.shares.accept(job("5604"))
    for _ in range(MOST[kind]):
        assert await engine.checks.ask("5604", kind, "asker")
    with pytest.raises(TooOften) as first:
        await engine.checks.ask("5604", kind, "asker")
    with pytest.raises(TooOften) as second:
        await engine.checks.ask("5604", kind, "asker")
    assert (first.value.first, second.value.first) == (True, False)
    assert await engine.checks.ask("5604", kind, "another")
    assert await engine.checks.ask("5604", "web" if kind != "web" else "telegram", "asker")


async def test_who_asked_is_kept_as_a_hash_for_an_hour_at_most(engine: Engine) -> None:
    await engine.checks.ask("5605", "whatsapp", "+255754123456")
    await engine.checks.ask("5605", "whatsapp", "+255754123456")
    [name] = await engine.redis.keys("tuma:check:*")
    assert "255754123456" not in name
    assert 0 < await engine.redis.ttl(name) <= WINDOW_S
