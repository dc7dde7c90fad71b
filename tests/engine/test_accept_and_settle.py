"""Accepting shares, and what a payment does to them, straight on the scripts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from bot.domain.bill import BillKind, BillStatus
from bot.domain.message import Kind, Outcome, State
from bot.engine import keys
from bot.engine.engine import Engine
from bot.errors import Conflict, NotFound, Refused
from tests.engine.conftest import job, paid
from tests.engine.endings import INVALID, end


async def test_an_accepted_share_has_one_queued_message(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100"))
    [message] = (await engine.shares.get(accepted.id)).messages
    assert (message.state, message.kind, message.channel) == (State.QUEUED, Kind.INSTRUCTIONS, "sms")
    assert accepted.messages == [message.id]


async def test_the_same_job_again_gives_the_same_answer(engine: Engine) -> None:
    first, second = await engine.shares.accept(j := job("100")), await engine.shares.accept(j)
    assert second.repeated
    assert (second.token, second.messages) == (first.token, first.messages)
    assert (await engine.ledger.stats()).created == 1


async def test_fifty_copies_at_once_make_one_message(engine: Engine) -> None:
    j = job("100")
    answers = await asyncio.gather(*(engine.shares.accept(j) for _ in range(50)))
    assert len({a.token for a in answers}) == 1
    assert (await engine.ledger.stats()).created == 1


async def test_the_same_id_with_other_content_conflicts(engine: Engine) -> None:
    await engine.shares.accept(job("100", id="a"))
    with pytest.raises(Conflict, match="id: was used before"):
        await engine.shares.accept(job("100", id="a", amount="46000"))


async def test_another_amount_for_the_same_term_conflicts_and_leaves_nothing(engine: Engine) -> None:
    j = job("100", id="a")
    await engine.shares.accept(j)
    with pytest.raises(Conflict, match=r"bill.amount.*45000"):
        await engine.shares.accept(job("100", id="b", amount="46000", phone=j.customer.phone))
    with pytest.raises(NotFound):
        await engine.shares.get("b")


async def test_a_second_contact_needs_consent(engine: Engine) -> None:
    await engine.shares.accept(job("100"))
    with pytest.raises(Refused, match="another contact holds this number"):
        await engine.shares.accept(job("100"))
    await engine.shares.accept(job("100", additional_contact=True))


async def test_the_same_phone_with_a_new_email_is_the_same_contact(engine: Engine) -> None:
    await engine.shares.accept(job("100", phone="+255754000001"))
    await engine.shares.accept(job("100", phone="+255754000001", email="a@example.com"))
    with pytest.raises(Refused, match="another contact"):
        await engine.shares.accept(job("100", phone="+255754000001", email="b@example.com"))


async def test_full_payment_settles_cancels_and_queues_one_receipt(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100"))
    result = await engine.payments.settle(paid("100"))
    assert (result.outcome, result.canceled, result.receipts) == ("settled", 1, 1)
    first, receipt = (await engine.shares.get(accepted.id)).messages
    assert (first.outcome, first.reason) == (Outcome.CANCELED, "paid")
    assert (receipt.kind, receipt.state) == (Kind.RECEIPT, State.QUEUED)
    assert (await engine.bills.get("100")).status is BillStatus.SETTLED


async def test_a_payment_counts_once_under_any_of_its_names(engine: Engine) -> None:
    await engine.shares.accept(job("100", kind=BillKind.CUSTOMER, amount="90000"))
    first = paid("100", "45000", id="p1")
    assert (await engine.payments.settle(first)).outcome == "partial"
    by_reference = paid("100", "45000", ids=(first.ids[1],), status="SETTLED")
    assert (await engine.payments.settle(first)).outcome == "repeated"
    assert (await engine.payments.settle(by_reference)).outcome == "advanced"
    assert (await engine.bills.get("100")).balance == "45000"


async def test_a_failed_attempt_then_success_under_the_same_id_counts(engine: Engine) -> None:
    await engine.shares.accept(job("100"))
    failed = paid("100", id="p1", event="failed", status="FAILED", amount=None, currency=None)
    assert (await engine.payments.settle(failed)).outcome == "failed"
    assert (await engine.payments.settle(paid("100", id="p1"))).outcome == "settled"


async def test_partial_on_an_order_number_closes_it(engine: Engine) -> None:
    await engine.shares.accept(job("100"))
    result = await engine.payments.settle(paid("100", "20000"))
    bill = await engine.bills.get("100")
    assert (result.outcome, bill.status, bill.balance) == ("partial", BillStatus.CLOSED, "25000")
    with pytest.raises(Refused, match="closed; nothing is sent"):
        await engine.shares.accept(job("100"))


async def test_partial_on_a_customer_number_goes_on_with_the_balance(engine: Engine) -> None:
    j = job("100", kind=BillKind.CUSTOMER)
    await engine.shares.accept(j)
    await engine.payments.settle(paid("100", "20000"))
    bill = await engine.bills.get("100")
    assert (bill.status, bill.balance) == (BillStatus.OPEN, "25000")
    assert bill.next_reminder_at is not None


async def test_overpayment_is_credit(engine: Engine) -> None:
    await engine.shares.accept(job("100", kind=BillKind.CUSTOMER))
    result = await engine.payments.settle(paid("100", "50000"))
    assert (result.outcome, (await engine.bills.get("100")).credit) == ("over", "5000")


async def test_payments_go_to_the_oldest_unpaid_term(engine: Engine) -> None:
    one = job("100", kind=BillKind.CUSTOMER)
    await engine.shares.accept(one)
    await engine.shares.accept(
        job("100", kind=BillKind.CUSTOMER, term="Muhula wa 2", phone=one.customer.phone)
    )
    await engine.payments.settle(paid("100", "60000"))
    assert [t.balance for t in (await engine.bills.get("100")).terms] == ["0", "30000"]


async def test_a_payout_is_no_payment(engine: Engine) -> None:
    await engine.shares.accept(job("100"))
    assert (await engine.payments.settle(paid("100", event="other"))).outcome == "noted"
    assert await engine.payments.unmatched() == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"currency": "USD"}, "currency"), ({"amount": None, "currency": None}, "no amount")],
)
async def test_money_that_cannot_be_allocated_waits_for_staff(
    engine: Engine, change: dict[str, Any], reason: str
) -> None:
    await engine.shares.accept(job("100"))
    result = await engine.payments.settle(paid("100", **change))
    assert (result.outcome, result.reason) == ("unmatched", reason)
    [kept] = await engine.payments.unmatched()
    assert kept.reason == reason


async def test_a_wrong_amount_on_an_exact_bill_holds_it(engine: Engine) -> None:
    await engine.shares.accept(job("100", bill_mode="exact"))
    result = await engine.payments.settle(paid("100", "44000"))
    assert result.reason == "wrong amount on an exact bill"
    assert (await engine.bills.get("100")).status is BillStatus.HELD
    await engine.payments.match(result.payment, "100", by="cli")
    assert (await engine.bills.get("100")).status is BillStatus.CLOSED


async def test_a_payment_before_its_share_settles_an_order_number(engine: Engine) -> None:
    assert (await engine.payments.settle(paid("100"))).reason == "unknown number"
    accepted = await engine.shares.accept(job("100"))
    assert accepted.settled
    assert [m.kind for m in (await engine.shares.get(accepted.id)).messages] == [Kind.RECEIPT]
    assert await engine.payments.unmatched() == []


async def test_an_old_payment_before_a_customer_share_stays_with_staff(engine: Engine) -> None:
    await engine.payments.settle(paid("100", created_at=datetime.now(UTC) - timedelta(days=3)))
    accepted = await engine.shares.accept(job("100", kind=BillKind.CUSTOMER))
    assert not accepted.settled
    assert len(await engine.payments.unmatched()) == 1


async def test_staff_match_a_payment_to_another_number_once(engine: Engine) -> None:
    await engine.shares.accept(job("200"))
    kept = await engine.payments.settle(paid("199"))
    assert (await engine.payments.match(kept.payment, "200", by="cli")).outcome == "settled"
    assert await engine.payments.unmatched() == []
    await engine.shares.accept(job("300"))
    with pytest.raises(Conflict, match="counts for 200 already"):
        await engine.payments.match(kept.payment, "300", by="cli")


async def test_a_returned_payment_holds_the_bill_for_staff(engine: Engine) -> None:
    await engine.shares.accept(job("100", kind=BillKind.CUSTOMER))
    await engine.payments.settle(paid("100", "20000", id="p1"))
    result = await engine.payments.settle(paid("100", "20000", id="p1", status="REVERSED"))
    assert (result.outcome, result.reason) == ("advanced", "returned")
    assert (await engine.bills.get("100")).status is BillStatus.HELD
    assert [p.reason for p in await engine.payments.unmatched()] == ["returned: reversed"]


async def test_stop_cancels_what_waits_and_refuses_more(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100"))
    assert await engine.bills.stop("100", by="cli") == 1
    assert (await engine.shares.get(accepted.id)).state == "stopped"
    with pytest.raises(NotFound):
        await engine.bills.stop("101", by="cli")


async def test_a_payment_after_stop_still_gets_its_receipt(engine: Engine) -> None:
    await engine.shares.accept(job("100"))
    await engine.bills.stop("100", by="cli")
    assert (await engine.payments.settle(paid("100"))).receipts == 1
    assert (await engine.ledger.stats()).open_bills == 0


async def test_a_share_without_any_usable_channel_is_refused_with_reasons(engine: Engine) -> None:
    with pytest.raises(Refused, match=r"email: no customer\.email"):
        await engine.shares.accept(job("100", id="a", channels=("email", "telegram")))
    with pytest.raises(NotFound):
        await engine.shares.get("a")


async def test_opting_out_cancels_what_waits_and_keeps_proof(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100", phone="+255754000001"))
    assert await engine.contacts.opt_out("sms", "+255754000001", proof="page") == 1
    [message] = (await engine.shares.get(accepted.id)).messages
    assert message.outcome is Outcome.SUPPRESSED
    [suppression] = (await engine.contacts.show("+255754000001")).suppressed
    assert (suppression.channel, suppression.proof) == ("sms", "page")
    with pytest.raises(Refused, match="suppressed: opted out"):
        await engine.shares.accept(job("101", phone="+255754000001"))


async def test_linking_telegram_sends_the_waiting_instructions_once(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100", channels=("sms", "telegram")))
    assert [s.channel for s in accepted.skipped] == ["telegram"]
    secret = (await engine.records.client.hget(_share_key(engine, "100", accepted.token), "lt")) or ""
    payload = f"{accepted.token}-{secret}"
    assert await engine.contacts.link(payload, "777") == "100"
    assert await engine.contacts.link(payload, "777") == "100"
    with pytest.raises(Conflict):
        await engine.contacts.link(payload, "888")
    with pytest.raises(NotFound):
        await engine.contacts.link(accepted.token + "-" + "x" * 16, "777")
    share = await engine.shares.get(accepted.id)
    assert [m.channel for m in share.messages] == ["sms", "telegram"]
    assert (share.channels, share.skipped) == (["sms", "telegram"], [])
    assert [b.number for b in await engine.bills.of_chat("777")] == ["100"]


def _share_key(engine: Engine, number: str, token: str) -> str:
    return f"tuma:{{{engine.records.partition(number)}}}:s:{token.partition('-')[2]}"


async def test_search_finds_by_number_phone_name_and_id(engine: Engine) -> None:
    await engine.shares.accept(job("100", id="inv-x", phone="+255754000001", name="Neema Kileo"))
    for words in ("100", "0754 000 001", "kileo", "inv-x"):
        assert [hit.number for hit in await engine.bills.search(words)] == ["100"], words
    assert await engine.bills.search("nobody") == []


async def test_a_name_is_found_among_many_each_number_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.engine.bills._NAMES_A_LOOK", 3)
    for n in range(40):
        await engine.shares.accept(job(f"7{n:03}", name=f"Asha Juma {n}"))
    who: dict[str, Any] = {"name": "Neema [*] Mrema", "phone": "+255754000001", "kind": BillKind.CUSTOMER}
    for term in ("1", "2", "3"):
        await engine.shares.accept(job("800", term=term, **who))
    assert [hit.number for hit in await engine.bills.search("[*] MREMA")] == ["800"]
    assert len(await engine.bills.search("asha", limit=5)) == 5
    assert len({hit.number for hit in await engine.bills.search("asha", limit=100)}) == 40
    assert await engine.bills.search("*") == await engine.bills.search("[*]")
    key = f"{keys.prefix(engine.records.partition('800'))}called"
    names = await engine.records.client.lrange(key, 0, -1)
    assert [name for name in names if name.endswith("800")] == ["neema [*] mrema\x1f800"]


async def test_the_ledger_adds_up_and_notices_when_it_does_not(engine: Engine) -> None:
    await engine.shares.accept(job("100"))
    await engine.payments.settle(paid("100"))
    assert (await engine.ledger.check()).ok
    await engine.redis.hincrby(f"tuma:{{{engine.records.partition('100')}}}:n", "queued", 1)
    report = await engine.ledger.check()
    assert not report.ok
    assert any("queued: counters say 2, records 1" in text for text in report.differences)


async def test_accept_many_answers_in_order_with_per_row_refusals(engine: Engine) -> None:
    good, bad = job("100"), job("101", channels=("email",))
    answers = await engine.shares.accept_many([good, bad, job("102")])
    assert [isinstance(a, Refused) for a in answers] == [False, True, False]


async def test_a_forgotten_contact_leaves_money_but_no_name_or_address(engine: Engine) -> None:
    phone = "+255754000001"
    await engine.shares.accept(job("100", kind=BillKind.CUSTOMER, phone=phone, name="Neema Kileo"))
    await engine.payments.settle(paid("100", "20000", payer_name="Neema Kileo"))
    await engine.contacts.opt_out("sms", phone, proof="page")
    assert await engine.contacts.forget(phone, by="cli") == 1
    bill = await engine.bills.get("100")
    assert (bill.paid, bill.customer, bill.contacts, bill.payments[0].payer) == ("20000", None, [], None)
    assert await engine.bills.search("kileo") == []
    assert [s.channel for s in (await engine.contacts.show(phone)).suppressed] == ["sms"]
    kept = [str(await engine.records.client.hgetall(key)) async for key in _hashes(engine)]
    assert not [text for text in kept if "Kileo" in text or phone in text]


async def _hashes(engine: Engine) -> AsyncIterator[str]:
    async for key in engine.records.client.scan_iter(match="tuma:*"):
        if await engine.records.client.type(key) == "hash" and ":c:" not in key:
            yield key


async def test_five_failed_attempts_in_a_row_are_told_once(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100"))
    for n in range(5):
        await engine.payments.settle(
            paid("100", None, id=f"p{n}", event="failed", status="FAILED", currency=None)
        )
    kinds = [m.kind for m in (await engine.shares.get(accepted.id)).messages]
    assert kinds == [Kind.INSTRUCTIONS, Kind.PAYMENT_FAILED]


async def test_an_id_whose_claim_was_lost_is_still_known_to_its_bill(engine: Engine) -> None:
    j = job("100")
    first = await engine.shares.accept(j)
    await engine.records.client.delete(f"tuma:{{{engine.records.partition(j.id)}}}:c:{j.id}")
    again = await engine.shares.accept(j)
    assert (again.repeated, again.token) == (True, first.token)
    assert (await engine.ledger.stats()).created == 1


async def test_a_claim_left_open_is_not_forgotten_because_the_contact_opted_out(engine: Engine) -> None:
    j = job("100", phone="+255754000001")
    claims = f"tuma:{{{engine.records.partition(j.id)}}}:open"
    first = await engine.shares.accept(j)
    await engine.records.client.hset(claims, j.id, f"1 {msgspec.json.encode(j).decode()}")
    await engine.contacts.opt_out("sms", "+255754000001", proof="page")
    assert (await engine.shares.accept(j)).token == first.token
    assert not await engine.records.client.exists(claims)


async def test_forgetting_one_address_forgets_the_person_but_not_the_other_guardian(engine: Engine) -> None:
    phone, email = "+255754000001", "neema@example.com"
    await engine.shares.accept(job("100", phone=phone, email=email, channels=("sms", "email"), name="Neema"))
    await engine.shares.accept(job("100", phone="+255754000002", name="Juma", additional_contact=True))
    assert await engine.contacts.forget(phone, by="cli") == 1
    bill = await engine.bills.get("100")
    assert (bill.customer, len(bill.contacts)) == ("Juma", 1)
    for address in (phone, email):
        with pytest.raises(NotFound):
            await engine.contacts.show(address)


async def test_the_ledger_is_right_while_messages_move(engine: Engine) -> None:
    stop = asyncio.Event()

    async def traffic() -> None:
        while not stop.is_set():
            number = (await engine.shares.accept(job())).number
            await engine.payments.settle(paid(number))

    moving = asyncio.create_task(traffic())
    reports = [await engine.ledger.check() for _ in range(20)]
    stop.set()
    await moving
    assert [r.differences for r in reports if not r.ok] == []
    assert (await engine.ledger.check()).moving == []


async def test_the_proof_of_an_opt_out_is_its_first_word(engine: Engine) -> None:
    phone = "+255754000001"
    await engine.shares.accept(job("100", phone=phone))
    for proof in ("page", "again"):
        await engine.contacts.opt_out("sms", phone, proof=proof)
    assert [s.proof for s in (await engine.contacts.show(phone)).suppressed] == ["page"]


async def test_a_no_takes_the_place_of_an_address_that_led_nowhere_and_stands(engine: Engine) -> None:
    phone = "+255754000001"
    share = await engine.shares.accept(job("100", phone=phone, kind=BillKind.CUSTOMER))
    await end(engine, INVALID)
    await engine.contacts.opt_out("sms", phone, proof="21614", reason="invalid address")
    await engine.contacts.opt_out("sms", phone, proof="page")
    await engine.contacts.opt_out("sms", phone, proof="21614 again", reason="invalid address")
    [said] = (await engine.contacts.show(phone)).suppressed
    assert (said.reason, said.proof) == ("opted out", "page")
    p, sid = keys.parse_token(share.token, engine.partitions)
    assert await engine.records.client.hget(f"tuma:{{{p}}}:s:{sid}", "x:sms") == "opted out"


async def test_a_reversal_of_money_that_was_never_counted_ends_its_hold(engine: Engine) -> None:
    await engine.shares.accept(job("100", bill_mode="exact"))
    await engine.payments.settle(paid("100", "40000", id="p1"))
    assert (await engine.bills.get("100")).status is BillStatus.HELD
    await engine.payments.settle(paid("100", "40000", id="p1", status="REFUNDED"))
    assert (await engine.bills.get("100")).status is BillStatus.OPEN
    assert await engine.payments.unmatched() == []


async def test_staff_dismiss_what_is_no_money_of_ours_and_the_bill_goes_on(engine: Engine) -> None:
    await engine.shares.accept(job("100"))
    kept = await engine.payments.settle(paid("100", currency="USD"))
    assert (await engine.bills.get("100")).status is BillStatus.HELD
    await engine.payments.dismiss(kept.payment, by="cli")
    assert (await engine.bills.get("100")).status is BillStatus.OPEN


async def test_returned_money_cannot_be_given_to_another_bill(engine: Engine) -> None:
    await engine.shares.accept(job("100"))
    await engine.shares.accept(job("200"))
    kept = await engine.payments.settle(paid("100", id="p1"))
    await engine.payments.settle(paid("100", id="p1", status="REVERSED"))
    with pytest.raises(Refused, match="its status is REVERSED"):
        await engine.payments.match(kept.payment, "200", by="cli")


@pytest.mark.parametrize(
    "first",
    [
        {"event": "failed", "status": "FAILED", "amount": Decimal(0)},
        {"status": "PENDING", "amount": Decimal(1)},
        {"amount": None},
        {"event": "other"},
    ],
)
async def test_whatever_was_told_first_the_money_counts_once(engine: Engine, first: dict[str, Any]) -> None:
    await engine.shares.accept(job("100"))
    await engine.payments.settle(paid("100", id="p1", **first))
    await engine.payments.settle(paid("100", id="p1", status="SETTLED"))
    bill = await engine.bills.get("100")
    assert (bill.status, bill.paid) == (BillStatus.SETTLED, "45000")


async def test_a_partial_payment_on_a_stopped_number_leaves_it_stopped(engine: Engine) -> None:
    await engine.shares.accept(job("100", kind=BillKind.CUSTOMER))
    await engine.bills.stop("100", by="cli")
    await engine.payments.settle(paid("100", "1000"))
    assert (await engine.bills.get("100")).status is BillStatus.STOPPED


async def test_an_office_mailbox_does_not_bring_ones_bill_to_the_others_chat(engine: Engine) -> None:
    office = "office@example.com"
    ways: dict[str, Any] = {"channels": ("sms", "telegram"), "email": office}
    first = await engine.shares.accept(job("100", phone="+255754000001", **ways))
    secret = await engine.records.client.hget(_share_key(engine, "100", first.token), "lt")
    await engine.contacts.link(f"{first.token}-{secret}", "777")
    second = await engine.shares.accept(job("200", phone="+255754000002", **ways))
    assert [s.channel for s in second.skipped] == ["telegram"]


async def test_linking_does_not_send_before_its_time(engine: Engine) -> None:
    phone, ways = "+255754000001", ("sms", "telegram")
    first = await engine.shares.accept(job("100", phone=phone, channels=ways))
    later = datetime.now(UTC) + timedelta(days=2)
    second = await engine.shares.accept(job("200", phone=phone, channels=ways, send_at=later))
    secret = await engine.records.client.hget(_share_key(engine, "100", first.token), "lt")
    await engine.contacts.link(f"{first.token}-{secret}", "777")
    states = [(m.channel, m.state) for m in (await engine.shares.get(second.id)).messages]
    assert states == [("sms", State.SCHEDULED), ("telegram", State.SCHEDULED)]
