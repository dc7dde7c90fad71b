"""Editing a share's contact: the right person from then on, nobody else any more, and consent is never missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count

import pytest

from bot.domain.bill import BillKind
from bot.domain.dead import Cause
from bot.engine.engine import Engine
from bot.engine.keys import AUDIT
from bot.engine.scripts import now_ms
from bot.errors import NotFound, Refused
from channels.base import Delivery, StatusUpdate
from channels.errors import RecipientInvalid
from tests.engine.conftest import job, paid, settings_for
from tests.engine.endings import INVALID, REFUSED, SENT, end, give, take
from tests.engine.gate import Gate, gate

OLD, NEW, OTHER = "+255754000001", "+255754000002", "+255754000003"


async def numbers(engine: Engine, address: str) -> list[str]:
    return await engine.contacts.numbers_of(address)


async def share_fields(engine: Engine, token: str) -> dict[str, str]:
    p, _, sid = token.partition("-")
    return await engine.records.share(int(p, 16), sid)


async def contact_fields(engine: Engine) -> list[str]:
    """What the account of number 100 says of its contacts."""
    return [name for name in await engine.records.account("100") if name.startswith(("k:", "ko:"))]


async def opted_out_after(engine: Engine, token: str, channel: str = "sms") -> str | None:
    return (await share_fields(engine, token)).get(f"x:{channel}")


async def test_what_waits_goes_to_the_new_address(engine: Engine) -> None:
    await engine.shares.accept(job("100", id="a", phone=OLD))
    edited = await engine.shares.edit_contact("a", phone=NEW, by="cli:asha")
    assert (edited.phone, edited.channels) == ("+255•••0002", ["sms"])
    assert [h["to"] for h in await take(engine)] == [NEW]
    [(_, row)] = await engine.records.client.xrange(AUDIT)
    assert (row["by"], row["action"], row["subject"]) == ("cli:asha", "edit contact", "a")


async def test_reminders_and_receipts_go_there_too(engine: Engine) -> None:
    await engine.shares.accept(job("100", id="a", phone=OLD, kind=BillKind.CUSTOMER))
    await end(engine, SENT)
    await engine.shares.edit_contact("a", phone=NEW, by="cli")
    await engine.shares.resend("a", by="cli")
    await engine.payments.settle(paid("100", "20000"))
    assert {h["to"] for h in await take(engine)} == {NEW}


async def test_the_number_moves_from_the_old_contact_to_the_new_one(engine: Engine) -> None:
    await engine.shares.accept(job("100", id="a", phone=OLD))
    await engine.shares.edit_contact("a", phone=NEW, by="cli")
    assert (await numbers(engine, OLD), await numbers(engine, NEW)) == ([], ["100"])
    assert (await engine.bills.get("100")).contacts == ["+255•••0002"]
    with pytest.raises(Refused, match="another contact"):
        await engine.shares.accept(job("100", phone=OLD))
    assert (await engine.shares.accept(job("100", phone=NEW))).messages


async def test_an_invalid_number_is_mended_and_replayed(engine: Engine) -> None:
    await engine.shares.accept(job("100", id="a", phone=OLD))
    await end(engine, INVALID)
    edited = await engine.shares.edit_contact("a", phone=NEW, by="cli")
    [letter] = await engine.messages.dead()
    assert (letter.cause, edited.dead, edited.suppressed) == (Cause.MENDED, [letter.id], [])
    await engine.messages.replay(letter.id, by="cli")
    assert [h["to"] for h in await end(engine, SENT)] == [NEW]
    assert await engine.messages.dead() == []


async def test_a_route_exhausted_at_a_wrong_number_begins_again_at_the_right_one(engine: Engine) -> None:
    await engine.shares.accept(job("100", id="a", phone=OLD, channels=("whatsapp", "sms"), mode="first"))
    await end(engine, INVALID, "whatsapp")
    await end(engine, INVALID)
    await engine.shares.edit_contact("a", phone=NEW, by="cli")
    [letter] = await engine.messages.dead()
    await engine.messages.replay(letter.id, by="cli")
    assert [h["to"] for h in await end(engine, SENT, "whatsapp")] == [NEW]


async def test_the_old_address_stays_on_the_number_while_another_share_has_it(engine: Engine) -> None:
    await engine.shares.accept(job("100", id="a", phone=OLD, kind=BillKind.CUSTOMER))
    await engine.shares.accept(job("100", id="b", phone=OLD, kind=BillKind.CUSTOMER, term="2"))
    await engine.shares.edit_contact("a", phone=NEW, by="cli")
    assert (await numbers(engine, OLD), await numbers(engine, NEW)) == (["100"], ["100"])
    assert sorted(h["to"] for h in await take(engine)) == [OLD, NEW]


async def test_an_address_of_another_contact_of_the_number_is_refused(engine: Engine) -> None:
    await engine.shares.accept(job("100", id="a", phone=OLD))
    await engine.shares.accept(job("100", id="b", phone=OTHER, additional_contact=True))
    with pytest.raises(Refused, match="phone: is another contact's"):
        await engine.shares.edit_contact("a", phone=OTHER, email="asha@example.com", by="cli")
    assert (await numbers(engine, OLD), await numbers(engine, OTHER)) == (["100"], ["100"])
    assert await numbers(engine, "asha@example.com") == []
    assert len((await engine.bills.get("100")).contacts) == 2


async def test_a_share_that_does_not_exist_and_an_edit_that_says_nothing_are_refused(engine: Engine) -> None:
    with pytest.raises(NotFound):
        await engine.shares.edit_contact("none", phone=NEW, by="cli")
    await engine.shares.accept(job("100", id="a"))
    with pytest.raises(Refused, match="names no address"):
        await engine.shares.edit_contact("a", by="cli")


async def test_an_edit_may_be_repeated_and_taken_back(engine: Engine) -> None:
    await engine.shares.accept(job("100", id="a", phone=OLD))
    first = await engine.shares.edit_contact("a", phone=NEW, by="cli")
    assert await engine.shares.edit_contact("a", phone=NEW, by="cli") == first
    await engine.shares.edit_contact("a", phone=OLD, by="cli")
    assert (await numbers(engine, OLD), await numbers(engine, NEW)) == (["100"], [])
    assert (await engine.bills.get("100")).contacts == ["+255•••0001"]


async def test_what_an_edit_cut_short_left_behind_is_cleared_by_the_next(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100", id="a", phone=OLD))
    scripts, p = engine.records.scripts, engine.records.partition("100")
    edit = {"phone": OTHER, "email": "", "telegram": "", "chat": "", "link": "x" * 16, "suppressed": {}}
    sid = accepted.token.partition("-")[2]
    await engine.contacts.index([("100", "phone", OTHER)])
    await scripts.run(scripts.edit_contact(p, 1, sid, edit))
    assert await numbers(engine, OLD) == ["100"]
    await engine.shares.edit_contact("a", phone=NEW, by="cli")
    assert [await numbers(engine, at) for at in (OLD, OTHER, NEW)] == [[], [], ["100"]]
    assert await contact_fields(engine) == [f"k:phone:{NEW}"]


# Consent


async def test_a_new_address_that_opted_out_stays_silent(engine: Engine) -> None:
    await engine.contacts.opt_out("sms", NEW, proof="page")
    await engine.shares.accept(job("100", id="a", phone=OLD))
    edited = await engine.shares.edit_contact("a", phone=NEW, by="cli")
    assert [(s.channel, s.reason) for s in edited.suppressed] == [("sms", "opted out")]
    assert await take(engine) == []
    assert await engine.messages.dead() == []


async def test_an_opt_out_of_the_old_address_does_not_silence_the_new_one(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100", id="a", phone=OLD))
    await engine.shares.edit_contact("a", phone=NEW, by="cli")
    await engine.contacts.opt_out("sms", OLD, proof="page")
    assert await opted_out_after(engine, accepted.token) is None
    assert len(await take(engine)) == 1


@dataclass(frozen=True)
class Pair:
    """Two processes on one server; a gate stands before the first."""

    slow: Engine
    quick: Engine
    gate: Gate


@pytest.fixture
async def pair(engine: Engine, redis_url: str) -> AsyncIterator[Pair]:
    async with gate(redis_url) as opened:
        slow = await Engine.open(settings_for(opened.url))
        yield Pair(slow, engine, opened)
        await slow.close()


@pytest.mark.single
@pytest.mark.parametrize("channel", ["sms", "whatsapp"])
async def test_an_opt_out_between_any_two_steps_of_an_edit_is_not_missed(pair: Pair, channel: str) -> None:
    for step in count():
        phone = f"+25575{step:02}00{len(channel):03}"
        accepted = await pair.quick.shares.accept(job(id=f"a{step}", channels=("sms", "whatsapp")))
        pair.gate.arm(step, partial(pair.quick.contacts.opt_out, channel, phone, proof="page"))
        await pair.slow.shares.edit_contact(f"a{step}", phone=phone, by="cli")
        if not pair.gate.passed:
            break
        assert await opted_out_after(pair.quick, accepted.token, channel) == "opted out", step
    assert step > 6


@pytest.mark.single
async def test_a_yes_between_any_two_steps_of_a_no_or_the_other_way_round_leaves_what_was_said_last(
    pair: Pair,
) -> None:
    # STOP and START at once, heard by two processes: the contact's record said yes, their bill was silent for good.
    quick, slow = pair.quick.contacts, pair.slow.contacts
    for first, then in ((slow.opt_out, quick.opt_in), (slow.opt_in, quick.opt_out)):
        for step in count():
            share = f"{first.__name__}{step}"
            phone = f"+25575{step:02}0000{len(first.__name__)}"
            accepted = await pair.quick.shares.accept(job(id=share, phone=phone))
            pair.gate.arm(step, partial(then, "sms", phone, proof="webhook"))
            await first("sms", phone, proof="webhook")
            if not pair.gate.passed:
                break
            known = [said.reason for said in (await quick.show(phone)).suppressed]
            assert await opted_out_after(pair.quick, accepted.token) == next(iter(known), None), (share, step)
        assert step > 2


@pytest.mark.single
async def test_an_edit_between_any_two_steps_of_an_opt_out_misses_none(pair: Pair) -> None:
    for step in count():
        phone = f"+25575{step:02}00001"
        accepted = await pair.quick.shares.accept(job(id=f"a{step}"))
        pair.gate.arm(step, partial(pair.quick.shares.edit_contact, f"a{step}", phone=phone, by="cli"))
        await pair.slow.contacts.opt_out("sms", phone, proof="page")
        if not pair.gate.passed:
            break
        assert await opted_out_after(pair.quick, accepted.token) == "opted out", step
    assert step >= 2


@pytest.mark.single
async def test_an_opt_in_between_any_two_steps_of_an_edit_is_not_missed(pair: Pair) -> None:
    for step in count():
        phone = f"+25575{step:02}00001"
        await pair.quick.contacts.opt_out("sms", phone, proof="page")
        accepted = await pair.quick.shares.accept(job(id=f"a{step}"))
        pair.gate.arm(step, partial(pair.quick.contacts.opt_in, "sms", phone, proof="asked"))
        await pair.slow.shares.edit_contact(f"a{step}", phone=phone, by="cli")
        if not pair.gate.passed:
            break
        assert await opted_out_after(pair.quick, accepted.token) is None, step
    assert step > 6


@pytest.mark.single
async def test_a_share_accepted_for_the_old_address_between_any_two_steps_keeps_its_index(pair: Pair) -> None:
    for step in count():
        old, new = f"+25575{step:02}00001", f"+25575{step:02}00002"
        await pair.quick.shares.accept(job(f"7{step}", id=f"a{step}", phone=old, kind=BillKind.CUSTOMER))
        pair.gate.arm(step, partial(_second_share, pair.quick, f"7{step}", old))
        await pair.slow.shares.edit_contact(f"a{step}", phone=new, by="cli")
        if not pair.gate.passed:
            break
        assert await numbers(pair.quick, new) == [f"7{step}"], step
        kept = await pair.quick.bills.get(f"7{step}")
        assert (await numbers(pair.quick, old) != []) == (len(kept.shares) == 2), step
    assert step > 6


async def _second_share(engine: Engine, number: str, phone: str) -> None:
    with suppress(Refused):
        await engine.shares.accept(job(number, phone=phone, kind=BillKind.CUSTOMER, term="2"))


async def test_edits_at_the_same_time_leave_one_address_and_its_index(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100", id="a", phone=OLD))
    phones = [f"+2557560000{n:02}" for n in range(12)]
    await asyncio.gather(*(engine.shares.edit_contact("a", phone=phone, by="cli") for phone in phones))
    last = (await share_fields(engine, accepted.token))["a:phone"]
    assert [at for at in [OLD, *phones] if await numbers(engine, at)] == [last]
    assert await contact_fields(engine) == [f"k:phone:{last}"]


async def test_a_failure_at_the_old_address_does_not_silence_the_new_one(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100", id="a", phone=OLD))
    held = await take(engine)
    await engine.shares.edit_contact("a", phone=NEW, by="cli")
    await give(engine, held, INVALID)
    assert await opted_out_after(engine, accepted.token) is None
    [letter] = await engine.messages.dead()
    assert letter.cause is Cause.MENDED
    await engine.messages.replay(letter.id, by="cli")
    assert [h["to"] for h in await take(engine)] == [NEW]


async def test_a_callback_about_the_old_address_does_not_silence_the_new_one(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100", id="a", phone=OLD))
    await end(engine, {**SENT, "ok": "0"})
    await engine.shares.edit_contact("a", phone=NEW, by="cli")
    error = RecipientInvalid("30006", "landline")
    await engine.messages.delivery(StatusUpdate(accepted.messages[0], "SM1", Delivery.UNDELIVERED, error))
    assert await opted_out_after(engine, accepted.token) is None
    assert [s.reason for s in (await engine.contacts.show(OLD)).suppressed] == ["invalid address"]


# Channels and chats


async def test_an_address_for_a_channel_that_had_none_opens_it(engine: Engine) -> None:
    await engine.shares.accept(job("100", id="a", channels=("sms", "email")))
    assert [s.channel for s in (await engine.shares.get("a")).skipped] == ["email"]
    edited = await engine.shares.edit_contact("a", email="asha@example.com", by="cli")
    share = await engine.shares.get("a")
    assert (edited.channels, share.channels, share.skipped) == (["sms", "email"], ["sms", "email"], [])
    assert len(await engine.shares.resend("a", by="cli")) == 2


async def test_an_edit_sends_nothing_by_itself(engine: Engine) -> None:
    await engine.shares.accept(job("100", id="a", channels=("sms", "email")))
    await end(engine, SENT)
    await engine.shares.edit_contact("a", phone=NEW, email="asha@example.com", by="cli")
    assert (await engine.ledger.stats()).created == 1


async def linked(engine: Engine, chat: str = "777") -> str:
    """A share `a` of number 100 whose customer linked a chat by the message's link; its token."""
    accepted = await engine.shares.accept(job("100", id="a", phone=OLD, channels=("sms", "telegram")))
    await engine.contacts.link(await link_of(engine, accepted.token), chat)
    return accepted.token


async def link_of(engine: Engine, token: str) -> str:
    return f"{token}-{(await share_fields(engine, token))['lt']}"


async def test_a_chat_linked_from_a_wrong_number_leaves_with_it(engine: Engine) -> None:
    token = await linked(engine)
    link = await link_of(engine, token)
    edited = await engine.shares.edit_contact("a", phone=NEW, by="cli")
    assert (edited.telegram, edited.channels) == (None, ["sms"])
    assert await take(engine, "telegram") == []
    assert await engine.bills.of_chat("777") == []
    with pytest.raises(NotFound):
        await engine.contacts.link(link, "777")
    assert await engine.contacts.link(await link_of(engine, token), "888") == "100"
    assert (await engine.ledger.check()).ok


async def test_a_chat_that_was_put_on_the_bill_stays(engine: Engine) -> None:
    await engine.shares.accept(
        job("100", id="a", phone=OLD, channels=("sms", "telegram"), telegram="123456789")
    )
    edited = await engine.shares.edit_contact("a", phone=NEW, by="cli")
    assert edited.telegram == "•••789"
    assert [h["to"] for h in await take(engine, "telegram")] == ["123456789"]


async def test_adding_an_address_keeps_the_linked_chat(engine: Engine) -> None:
    await linked(engine, "123456789")
    edited = await engine.shares.edit_contact("a", email="asha@example.com", by="cli")
    assert edited.telegram == "•••789"


async def test_the_chat_of_the_new_number_comes_with_it(engine: Engine) -> None:
    await linked(engine, "123456789")
    await engine.shares.accept(job("200", id="b", phone=OTHER, channels=("sms", "telegram")))
    edited = await engine.shares.edit_contact("b", phone=OLD, by="cli")
    assert (edited.telegram, edited.channels) == ("•••789", ["sms", "telegram"])
    assert [bill.number for bill in await engine.bills.of_chat("123456789")] == ["100", "200"]


async def test_a_telegram_chat_can_be_given(engine: Engine) -> None:
    await engine.shares.accept(job("100", id="a", channels=("sms", "telegram")))
    edited = await engine.shares.edit_contact("a", telegram="123456789", by="cli")
    assert edited.channels == ["sms", "telegram"]
    assert [bill.number for bill in await engine.bills.of_chat("123456789")] == ["100"]


async def test_a_chat_sees_no_bill_that_only_its_index_names(engine: Engine) -> None:
    await linked(engine)
    await engine.shares.accept(job("200"))
    await engine.contacts.index([("200", "telegram", "777")])
    assert [bill.number for bill in await engine.bills.of_chat("777")] == ["100"]


async def test_an_edit_of_a_forgotten_contact_is_a_new_contact(engine: Engine) -> None:
    await engine.shares.accept(job("100", id="a", phone=OLD))
    await engine.contacts.forget(OLD, by="cli")
    edited = await engine.shares.edit_contact("a", phone=NEW, by="cli")
    assert edited.phone == "+255•••0002"
    await engine.shares.resend("a", by="cli")
    assert [h["to"] for h in await take(engine)] == [NEW]


async def test_a_retry_goes_to_the_new_address(engine: Engine) -> None:
    [id] = (await engine.shares.accept(job("100", id="a", phone=OLD))).messages
    await end(engine, {"r": "retry", "at": "1", "cost": "1", "err": "later"})
    await engine.shares.edit_contact("a", phone=NEW, by="cli")
    for p in range(engine.partitions):
        await engine.records.scripts.run(engine.records.scripts.due(p, now_ms(), 10, {"sms": "resend"}))
    assert [(h["id"], h["to"]) for h in await take(engine)] == [(id.partition("-")[2], NEW)]


async def test_a_share_that_was_paid_can_be_edited_for_its_receipt(engine: Engine) -> None:
    await engine.shares.accept(job("100", id="a", phone=OLD))
    await engine.payments.settle(paid("100"))
    await end(engine, REFUSED)
    edited = await engine.shares.edit_contact("a", phone=NEW, by="cli")
    assert (await engine.messages.replay_each(edited.dead, by="cli")).replayed == 1
    assert [h["to"] for h in await take(engine)] == [NEW]
