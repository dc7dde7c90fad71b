"""Memory is bounded by live work: what a bill leaves behind has a lifetime, or is on a list with a reason."""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta

import pytest

from bot.domain.bill import BillKind
from bot.engine import keys, scripts
from bot.engine.engine import Engine
from bot.engine.inbox import Inbox, add
from bot.engine.retention import IDS_KEPT_MS, Retention
from bot.engine.scripts import now_ms
from channels.base import ChannelName, Delivery, StatusUpdate
from channels.errors import RecipientInvalid, Uncertain
from tests.engine.conftest import job, paid
from tests.engine.test_worker import Scripted, settled, until, working

# What may live for good, and why.
FOR_GOOD = {
    r"tuma:(partitions|format|keys|bot:.*)": "one each for the whole data set",
    r"tuma:(audit|rejected|inbox(:\{\d+\})?)": "capped, or empty when all is taken",
    r"tuma:\{\d+\}:(n|pause|price|format|seen)": "counters and switches, one each for a partition",
    r"tuma:\{\d+\}:news": "capped",
    r"tuma:\{\d+\}:q:\w+:[ub]": "the streams themselves, empty when all is sent",
    r"tuma:\{\d+\}:(dead|um|hints|timers|cbdue|cbtry|pt|called|ids:\d+)": "tidied by bot.engine.retention",
    r"tuma:\{\d+\}:(owe|open|make:[ub]|sync)": "members leave with what they wait for",
    r"tuma:\{\d+\}:k:.*": "contacts that decided something about us",
}
INDEXES = ("dead", "um", "hints", "timers", "cbdue", "owe", "make:u", "make:b", "sync")


async def _kinds_without_lifetime(engine: Engine) -> Counter[str]:
    found: Counter[str] = Counter()
    async for key in engine.records.client.scan_iter(count=1000):
        if await engine.records.client.ttl(key) < 0:
            reason = next((why for pattern, why in FOR_GOOD.items() if re.fullmatch(pattern, key)), None)
            found[reason or key] += 1
    return found


async def _a_whole_life(engine: Engine, count: int) -> None:
    """Bills in every way of ending: paid, overpaid, stopped, opted out, dead, in doubt, unmatched."""
    sms, mail = Scripted(), Scripted(name=ChannelName.EMAIL)
    sms.errors = [RecipientInvalid("21614", "x"), Uncertain("timeout", "x")]
    async with working(engine, sms, mail):
        for n in range(count):
            number = f"8{n:05}"
            kind = BillKind.CUSTOMER if n % 3 == 0 else BillKind.ORDER
            who = {"name": f"Asha {n}", "email": f"a{n}@example.com"}
            accepted = await engine.shares.accept(job(number, channels=("sms", "email"), kind=kind, **who))  # type: ignore[arg-type]
            await engine.messages.delivery(StatusUpdate(accepted.messages[0], f"SM{n}", Delivery.SENT))
        await until(lambda: settled(engine), 60)
        await engine.contacts.opt_out("email", "a1@example.com", proof="test")
        await engine.contacts.inbound("whatsapp", "+255754999999")
        await engine.payments.hint("800002")
        for n in range(count):
            number = f"8{n:05}"
            if n % 10 == 9:
                await engine.bills.stop(number, by="cli")
            else:
                await engine.payments.settle(paid(number, "50000" if n % 7 == 0 else "45000"))
        await engine.payments.settle(paid("999999"))
        await until(lambda: settled(engine), 60)


async def test_whatever_outlives_its_use_has_a_lifetime_or_a_reason(engine: Engine) -> None:
    await add(engine.records, '{"not": "a job"}')
    reader = Inbox(engine.records, engine.shares, engine.settings, "test")
    await reader._group()
    await reader._turn()
    await _a_whole_life(engine, 30)
    found = await _kinds_without_lifetime(engine)
    assert set(found) <= set(FOR_GOOD.values()), found
    assert found["contacts that decided something about us"] <= 2


@pytest.mark.single
async def test_memory_returns_to_what_is_kept_by_rule(engine: Engine) -> None:
    client, count = engine.records.client, 60
    await _a_whole_life(engine, count)
    await _time_ends(engine)
    before = await _size(engine)
    await _a_whole_life(engine, count)
    grown = await _size(engine)
    await _time_ends(engine)
    after = await _size(engine)
    assert grown[0] > before[0] + 5 * count, "the test shows nothing"
    assert after[0] <= before[0] + 2, await client.keys("*")
    assert after[1] <= before[1] + 2, "an index keeps what is gone"
    assert after[2] - before[2] < (grown[2] - before[2]) / 4
    assert (await engine.ledger.check()).differences == []


async def _size(engine: Engine) -> tuple[int, int, int]:
    """Keys, members of indexes, bytes of data."""
    client = engine.records.client
    members = sum(
        [await client.zcard(f"tuma:{{{p}}}:{index}") for p in range(engine.partitions) for index in INDEXES]
        + [await client.llen(f"tuma:{{{p}}}:called") for p in range(engine.partitions)]
        + [await client.hlen(f"tuma:{{{p}}}:open") for p in range(engine.partitions)]
    )
    return await client.dbsize(), members, int((await client.info("memory"))["used_memory_dataset"])


async def _time_ends(engine: Engine) -> None:
    """Every lifetime ends, as the server would end it, and the scheduler has tidied up after it."""
    client = engine.records.client
    async for key in client.scan_iter(count=1000):
        if await client.ttl(key) > 0:
            await client.delete(key)
    try:
        scripts.put_clock_forward(IDS_KEPT_MS + 2 * 86_400_000)
        retention = Retention(engine.records, ids_step=keys.IDS)
        for p in range(engine.partitions):
            call = engine.records.scripts.due(p, now_ms(), 1000, {"sms": "resend", "email": "resend"})
            await engine.records.scripts.run(call)
        for _ in range(3 * engine.partitions):
            await retention.turn()
    finally:
        scripts.put_clock_right()


async def test_what_a_person_decided_outlives_every_bill(engine: Engine) -> None:
    # The next bill gave the record a lifetime again, and with it ended the opt-out.
    client, address = engine.records.client, "+255754000001"
    key = engine.contacts.key("phone", address)
    await engine.shares.accept(job("100", phone=address))
    assert await client.ttl(key) > 0
    await engine.contacts.opt_out("whatsapp", address, proof="test")
    await engine.shares.accept(job("200", phone=address))
    await engine.contacts.at_send("sms", [address], ["M-PESA"])
    assert await client.ttl(key) == -1


async def test_a_contact_is_kept_from_its_last_bill_on(engine: Engine) -> None:
    client, address = engine.records.client, "+255754000001"
    key = engine.contacts.key("phone", address)
    await engine.shares.accept(job("100", phone=address))
    await client.expire(key, int(timedelta(days=1).total_seconds()))
    await engine.shares.accept(job("200", phone=address))
    assert await client.ttl(key) > timedelta(days=700).total_seconds()


@pytest.mark.parametrize("kept", [True, False])
async def test_a_hint_that_nobody_answers_goes_with_its_bill(engine: Engine, kept: bool) -> None:
    await engine.shares.accept(job("100"))
    await engine.payments.hint("100")
    p, client = engine.records.partition("100"), engine.records.client
    if not kept:
        await client.delete(f"tuma:{{{p}}}:a:100")
    retention = Retention(engine.records)
    for _ in range(engine.partitions):
        await retention.turn()
    assert await client.zcard(f"tuma:{{{p}}}:hints") == int(kept)


async def test_the_records_of_a_bill_that_waits_are_kept_packed(engine: Engine) -> None:
    # A hash that ever held a long text takes three times the room for as long as it lives.
    for n in range(20):
        await engine.shares.accept(job(f"9{n:05}", name=f"Asha Juma {n}"))
    client = engine.records.client
    found = {key: await client.object("encoding", key) async for key in client.scan_iter("tuma:{*}:*:*")}
    kinds = {key.split(":")[2] for key in found}
    assert {"a", "s", "m", "k", "ids"} <= kinds
    loose = [key for key, encoding in found.items() if encoding == "hashtable"]
    assert loose == []
