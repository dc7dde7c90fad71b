"""No dead numbers: what is owed under a closed order number gets a new one, and the old one never goes out again."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest

from bot.app import renderer
from bot.domain.bill import BillKind, BillMode, BillStatus, MessageView
from bot.domain.cash import Cash
from bot.domain.message import Kind, Outcome, State
from bot.engine.compose import Composer
from bot.engine.scripts import HandedOut, now_ms
from channels.base import SmsContent
from tests.bills.conftest import Office, Open, at_clickpesa, to_make, until_found
from tests.engine.conftest import paid


async def test_a_balance_gets_a_new_number_that_the_receipt_names(office: Office) -> None:
    async with office.making():
        old = await at_clickpesa(office, 45000)
        assert (await office.pays(old, 20000)).outcome == "partial"
        new = await office.successor(old)
    bill = await office.engine.bills.get(new)
    assert (bill.status, bill.balance, bill.previous, bill.kind) == (
        BillStatus.OPEN,
        "25000",
        old,
        BillKind.ORDER,
    )
    assert office.bills[new].amount == Decimal(25000)
    [receipt] = await queued(office, new, Kind.RECEIPT)
    assert receipt.state is State.QUEUED
    text = await handed_text(office)
    assert all(word in text for word in ("20,000", "25,000", old, new, "R"))


async def test_the_new_number_lives_beside_the_old_one(office: Office) -> None:
    async with office.making():
        for _ in range(4):
            old = await at_clickpesa(office)
            await office.pays(old, 20000)
            new = await office.successor(old)
            assert office.engine.records.partition(new) == office.engine.records.partition(old)


async def test_the_share_goes_on_under_the_new_number(office: Office) -> None:
    async with office.making():
        old = await at_clickpesa(office)
        share_id = (await office.engine.bills.get(old)).shares[0]
        await office.pays(old, 20000)
        new = await office.successor(old)
    share = await office.engine.shares.get(share_id)
    assert (share.number, share.state) == (new, "active")
    assert share.next_reminder_at is not None
    page = await office.engine.shares.by_token(share.token)
    assert (page.number, page.amount) == (new, Decimal(25000))
    old_bill = await office.engine.bills.get(old)
    assert (old_bill.status, old_bill.balance, old_bill.next) == (BillStatus.CLOSED, "0", new)


async def test_the_new_number_has_the_contacts_and_is_found_by_name(office: Office) -> None:
    async with office.making():
        old = await at_clickpesa(office, phone="+255754123001")
        await office.pays(old, 20000)
        new = await office.successor(old)
        await until_found(lambda: _indexed(office, "+255754123001", new))
    assert new in {hit.number for hit in await office.engine.bills.search("asha")}
    await office.engine.contacts.opt_out("sms", "+255754123001", proof="test")
    contact = await office.engine.contacts.show("+255754123001")
    assert contact.suppressed[0].reason == "opted out"


async def _indexed(office: Office, phone: str, number: str) -> bool:
    return number in await office.engine.contacts.numbers_of(phone)


async def test_the_old_number_never_goes_out_again(office: Office) -> None:
    async with office.making():
        old = await at_clickpesa(office, due_in=timedelta(seconds=2), before=(timedelta(seconds=1),))
        await office.pays(old, 20000)
        new = await office.successor(old)
    texts = [await handed_text(office)]
    for p in range(office.engine.partitions):
        await office.engine.records.scripts.run(
            office.engine.records.scripts.due(p, now_ms() + 60_000, 100, {})
        )
    texts += await all_handed(office, now_ms() + 60_000)
    asking = [text for text in texts if "20,000" not in text]
    assert asking
    assert all(new in text and old not in text for text in asking)


async def test_without_clickpesa_the_receipt_goes_after_its_wait_and_instructions_follow(
    open_office: Open,
) -> None:
    office = await open_office(receipt_wait_ms=100)
    async with office.making():
        old = await at_clickpesa(office)
    await office.pays(old, 20000)  # nobody makes numbers now
    [receipt] = await queued(office, old, Kind.RECEIPT)
    assert receipt.state is State.SCHEDULED
    await _timers(office)
    text = await handed_text(office)
    assert "20,000" in text
    assert "25,000" in text
    async with office.making():
        new = await office.successor(old)
    [instructions] = await queued(office, new, Kind.INSTRUCTIONS)
    assert instructions.number == new
    assert new in await handed_text(office)


async def _timers(office: Office) -> None:
    await until_found(lambda: _due(office))


async def _due(office: Office) -> bool:
    scripts = office.engine.records.scripts
    for p in range(office.engine.partitions):
        await scripts.run(scripts.due(p, now_ms(), 100, {}))
    numbers = [number async for number in office.engine.bills.numbers()]
    found = [m for number in numbers for m in await messages(office, number)]
    return any(m.kind is Kind.RECEIPT and m.state is State.QUEUED for m in found)


async def test_cash_while_the_create_is_in_flight_means_nobody_sees_the_number(office: Office) -> None:
    async with office.making():
        old = await at_clickpesa(office)
    await office.pays(old, 20000)
    [wanted] = await office.engine.creations.urgent(1)
    cash = Cash(id="slip-1", amount=Decimal(25000), note="slip 1")
    assert (await office.engine.payments.add(old, cash, by="cli")).outcome == "settled"
    from bot.billpay.maker import _new

    await office.client.create(_new(wanted))
    assert (await office.engine.creations.made(wanted)).outcome == "unneeded"
    async with office.making():
        await until_found(lambda: _inactive(office, wanted.reference))
    bill = await office.engine.bills.get(old)
    assert (bill.status, bill.balance, bill.next) == (BillStatus.SETTLED, "0", None)
    sent = await messages(office, old)
    assert [m.kind for m in sent if m.state is not State.DONE] == [Kind.RECEIPT, Kind.RECEIPT]
    assert all(wanted.reference not in text for text in await all_handed(office))


async def test_a_number_that_nobody_waits_for_is_closed_once_clickpesa_can_be_told(office: Office) -> None:
    from bot.billpay.maker import NumberMaker, _new

    await office.engine.shares.accept(to_make())
    [wanted] = await office.engine.creations.urgent(1)
    await office.client.create(_new(wanted))
    await office.engine.creations.another(wanted)  # somebody else drew another number for it
    office.city.faults.rate("clickpesa", "error-before", 1.0)
    await NumberMaker(office.client, office.engine.creations, bulk_wait_ms=0)._made(wanted)
    assert office.bills[wanted.reference].status == "ACTIVE"
    office.city.faults.rate("clickpesa", "error-before", 0.0)
    async with office.making():
        await until_found(lambda: _inactive(office, wanted.reference))


async def test_a_replaced_number_reminds_of_nothing(office: Office) -> None:
    async with office.making():
        old = await at_clickpesa(office)
        await office.pays(old, 20000)
        new = await office.successor(old)
    assert (await office.engine.bills.get(old)).next_reminder_at is None
    assert (await office.engine.bills.get(new)).next_reminder_at is not None


async def _inactive(office: Office, number: str) -> bool:
    return office.bills[number].status == "INACTIVE"


async def test_a_second_payment_in_flight_changes_what_the_new_number_asks_for(office: Office) -> None:
    async with office.making():
        old = await at_clickpesa(office)
    await office.pays(old, 20000)
    [wanted] = await office.engine.creations.urgent(1)
    await office.engine.payments.settle(paid(old, "5000"))
    from bot.billpay.maker import _new

    await office.client.create(_new(wanted))
    made = await office.engine.creations.made(wanted)
    assert (made.outcome, made.amount) == ("amount", Decimal(20000))
    assert (await office.engine.records.account(old)).get("next") is None
    again = msgspec.structs.replace(wanted, amount=Decimal(20000))
    assert (await office.engine.creations.made(again)).outcome == "taken"
    assert (await office.engine.bills.get(wanted.reference)).balance == "20000"


async def test_the_maker_corrects_the_amount_before_the_number_is_shown(office: Office) -> None:
    async with office.making():
        old = await at_clickpesa(office)
    await office.pays(old, 20000)
    create = office.client.create

    async def slowly(new: object) -> str:
        number = await create(new)  # type: ignore[arg-type]
        await office.engine.payments.settle(paid(old, "5000"))
        return number

    office.client.create = slowly  # type: ignore[method-assign]
    async with office.making():
        new = await office.successor(old)
    assert office.bills[new].amount == Decimal(20000)
    assert (await office.engine.bills.get(new)).balance == "20000"


async def test_a_number_whose_answer_was_lost_before_the_balance_changed_is_closed(office: Office) -> None:
    from bot.billpay.maker import _new

    async with office.making():
        old = await at_clickpesa(office)
    await office.pays(old, 20000)
    [wanted] = await office.engine.creations.urgent(1)
    await office.client.create(_new(wanted))
    await office.engine.creations.later(wanted, 0)
    await office.engine.payments.settle(paid(old, "5000"))
    async with office.making():
        new = await office.successor(old)
        await until_found(lambda: _inactive(office, wanted.reference))
    assert (office.bills[new].status, office.bills[new].amount) == ("ACTIVE", Decimal(20000))


async def test_a_payment_on_the_old_number_pays_the_new_one(office: Office) -> None:
    async with office.making():
        old = await at_clickpesa(office)
        await office.pays(old, 20000)
        new = await office.successor(old)
        late = paid(old, "10000")
        assert (await office.engine.payments.settle(late)).outcome == "partial"
        await until_found(lambda: _asks(office, new, 15000))
        bill = await office.engine.bills.get(new)
        assert (bill.status, bill.balance) == (BillStatus.OPEN, "15000")
        rest = paid(old, "15000")
        assert (await office.engine.payments.settle(rest)).outcome == "settled"
        await until_found(lambda: _inactive(office, new))
    assert (await office.engine.payments.settle(rest)).outcome == "repeated"
    assert {p.counts_for for p in (await office.engine.bills.get(new)).payments} == {new}


async def _asks(office: Office, number: str, amount: int) -> bool:
    return office.bills[number].amount == Decimal(amount)


async def test_a_duplicate_on_a_settled_order_number_waits_for_staff(office: Office) -> None:
    async with office.making():
        old = await at_clickpesa(office)
    await office.pays(old, 45000)
    result = await office.engine.payments.settle(paid(old, "45000"))
    assert (result.outcome, result.reason) == ("unmatched", "the order number is closed")


async def test_stopping_the_old_number_stops_the_bill(office: Office) -> None:
    async with office.making():
        old = await at_clickpesa(office)
        await office.pays(old, 20000)
        new = await office.successor(old)
    await office.engine.bills.stop(old, by="cli")
    assert (await office.engine.bills.get(new)).status is BillStatus.STOPPED


async def test_stopping_while_the_create_is_in_flight_means_no_new_number(office: Office) -> None:
    async with office.making():
        old = await at_clickpesa(office)
    await office.pays(old, 20000)
    [wanted] = await office.engine.creations.urgent(1)
    await office.engine.bills.stop(old, by="cli")
    assert (await office.engine.creations.made(wanted)).outcome == "unneeded"


@pytest.mark.parametrize(("policy", "kind"), [("order", "order"), ("customer", "customer")])
async def test_the_policy_says_what_kind_the_balance_gets(open_office: Open, policy: str, kind: str) -> None:
    office = await open_office(balance_number=policy)
    async with office.making():
        old = await at_clickpesa(office)
        await office.pays(old, 20000)
        new = await office.successor(old)
    assert (office.bills[new].kind, (await office.engine.bills.get(new)).kind) == (kind, kind)


async def test_policy_off_leaves_it_to_staff(open_office: Open) -> None:
    office = await open_office(balance_number="off")
    async with office.making():
        old = await at_clickpesa(office)
        await office.pays(old, 20000)
    assert (await office.engine.ledger.stats()).creating == 0
    [receipt] = await queued(office, old, Kind.RECEIPT)
    assert receipt.state is State.QUEUED


async def test_a_chain_of_partial_payments_ends_settled(office: Office) -> None:
    async with office.making():
        number = first = await at_clickpesa(office, 45000)
        for amount in (10000, 15000):
            await office.pays(number, amount)
            number = await office.successor(number)
        assert (await office.pays(number, 20000)).outcome == "settled"
    assert (await office.engine.bills.get(first)).status is BillStatus.CLOSED
    share = await office.engine.shares.get((await office.engine.bills.get(number)).shares[0])
    receipts = [m for m in share.messages if m.kind is Kind.RECEIPT]
    assert (share.state, len(receipts)) == ("paid", 3)
    assert (await office.engine.ledger.check()).differences == []
    assert (await office.engine.ledger.stats()).open_bills == 0


async def test_receipts_are_numbered_without_gaps(office: Office) -> None:
    async with office.making():
        numbers = [await at_clickpesa(office) for _ in range(6)]
    for number in numbers:
        await office.pays(number, 45000)
    found = [p.receipt for n in numbers for p in (await office.engine.bills.get(n)).payments]
    by_partition: dict[str, list[int]] = {}
    for receipt in found:
        p, _, n = (receipt or "").partition("-")
        by_partition.setdefault(p, []).append(int(n))
    assert all(sorted(ns) == list(range(1, len(ns) + 1)) for ns in by_partition.values())
    assert len(set(found)) == 6


async def test_a_receipt_drops_a_new_number_that_is_paid_meanwhile(office: Office) -> None:
    async with office.making():
        old = await at_clickpesa(office)
        await office.pays(old, 20000)
        new = await office.successor(old)
        await office.pays(new, 25000)
    texts = await all_handed(office)
    assert len(texts) == 2
    assert all(f"mpya {new}" not in text for text in texts)


async def test_an_exact_bill_gets_an_exact_number(office: Office) -> None:
    async with office.making():
        old = await at_clickpesa(office, bill_mode=BillMode.EXACT)
        cash = Cash(id="1", amount=Decimal(20000), note=None)
        with pytest.raises(Exception, match="only the exact amount"):
            await office.engine.payments.add(old, cash, by="cli")


# Is this bill real?


async def test_a_closed_number_whose_successor_is_paid_is_paid(office: Office) -> None:
    async with office.making():
        old = await at_clickpesa(office, 45000)
        await office.pays(old, 20000)
        new = await office.successor(old)
        checked = await office.engine.checks.ask(old, "web", "198.51.100.7")
        assert checked is not None
        assert checked.status is BillStatus.CLOSED
        await office.pays(new, 25000)
    checked = await office.engine.checks.ask(old, "web", "198.51.100.7")
    assert checked is not None
    assert (checked.status, checked.amount) == (BillStatus.SETTLED, Decimal(0))


# What would be sent


async def messages(office: Office, number: str) -> list[MessageView]:
    bill = await office.engine.bills.get(number)
    return [m for share in bill.shares for m in (await office.engine.shares.get(share)).messages]


async def queued(office: Office, number: str, kind: Kind) -> list[MessageView]:
    return [m for m in await messages(office, number) if m.kind is kind and m.outcome is not Outcome.CANCELED]


async def all_handed(office: Office, now: int | None = None) -> list[str]:
    """The texts of all that is handed out now."""
    engine = office.engine
    composer = Composer(engine.records, renderer(engine.settings), engine.settings)
    texts = []
    for p in range(engine.partitions):
        scripts = engine.records.scripts
        held: list[HandedOut]
        held, _ = await scripts.run(scripts.hand_out(p, now or now_ms(), "sms", "test", (100, 100)))
        for each in held:
            content = composer.content(each, None, 0, now_ms())
            assert isinstance(content, SmsContent)
            texts.append(content.text)
    return texts


async def handed_text(office: Office) -> str:
    [text] = await all_handed(office)
    return text


async def test_where_a_failed_attempt_closes_a_number_the_bill_gets_a_new_one(open_office: Open) -> None:
    office = await open_office(failed_closes=True)
    async with office.making():
        old = await at_clickpesa(office)
        failed = paid(old, "45000", event="failed", status="FAILED")
        settled = await office.engine.payments.settle(failed)
        assert (settled.outcome, settled.receipts) == ("failed", 0)
        new = await office.successor(old)
        assert (await office.engine.payments.settle(failed)).outcome == "repeated"
    bill = await office.engine.bills.get(new)
    assert (bill.status, bill.balance, bill.paid) == (BillStatus.OPEN, "45000", "0")
    [instructions] = await queued(office, new, Kind.INSTRUCTIONS)
    assert instructions.state is State.QUEUED
    text = await handed_text(office)
    assert new in text
    assert old not in text
    await office.pays(new, 45000)
    assert (await office.engine.bills.get(new)).status is BillStatus.SETTLED


async def test_a_failed_attempt_closes_nothing_where_it_is_not_said_so(office: Office) -> None:
    async with office.making():
        old = await at_clickpesa(office)
        await office.engine.payments.settle(paid(old, "45000", event="failed", status="FAILED"))
    assert (await office.engine.bills.get(old)).status is BillStatus.OPEN
