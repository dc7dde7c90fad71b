"""Bills that change while they are out, end, go on to a next term; cash; money that goes back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from bot.billpay.desk import BillDesk
from bot.billpay.numbers import NumberDetails
from bot.domain.bill import BillKind, BillMode, BillStatus
from bot.domain.bill_change import BillChange, ChangedBill
from bot.domain.cash import Cash
from bot.domain.message import Kind, Outcome, State
from bot.domain.share import Reminders
from bot.engine.changes import HEALS_AFTER_MS
from bot.engine.scripts import now_ms, put_clock_forward, put_clock_right
from bot.errors import NotFound, ProviderAway, Refused, StoreUnavailable
from tests.bills.conftest import Office, Open, at_clickpesa, until_found
from tests.bills.test_successor import _asks, all_handed, handed_text, messages, queued
from tests.engine.conftest import job, paid


@pytest.fixture(autouse=True)
def right_clock() -> Iterator[None]:
    yield
    put_clock_right()


@pytest.fixture
async def desk(office: Office) -> BillDesk:
    return BillDesk(office.client, office.engine.changes, office.engine.bills)


async def made(office: Office, **changes: object) -> str:
    """A share whose instructions are sent, and its number."""
    async with office.making():
        number = await at_clickpesa(office, **changes)  # type: ignore[arg-type]
    for m in await messages(office, number):
        assert m.kind is Kind.INSTRUCTIONS
    await sent(office)
    return number


async def sent(office: Office) -> None:
    """All that waits now goes out."""
    scripts = office.engine.records.scripts
    for p in range(office.engine.partitions):
        held, _ = await scripts.run(scripts.hand_out(p, now_ms(), "sms", "sent", (100, 100)))
        results = [
            {"id": h.id, "a": str(h.attempt), "r": "sent", "pid": "x", "dl": "sent", "dr": "3", "seg": "1",
             "txt": "x", "ok": "1", "why": "", "err": ""} for h in held
        ]  # fmt: skip
        assert await scripts.run(scripts.finish(p, now_ms(), results)) == []


async def changed(office: Office, desk: BillDesk, number: str, **fields: object) -> ChangedBill:
    return await desk.change(number, BillChange(**fields), by="cli")  # type: ignore[arg-type]


async def test_a_new_amount_is_known_on_both_sides_and_told(office: Office, desk: BillDesk) -> None:
    number = await made(office)
    result = await changed(office, desk, number, amount=Decimal(60000))
    assert (result.bill.balance, result.messages, result.clickpesa) == ("60000", 1, "updated")
    assert office.bills[number].amount == Decimal(60000)
    assert "60,000" in await handed_text(office)


async def test_a_change_before_the_instructions_went_out_needs_no_second_message(
    office: Office, desk: BillDesk
) -> None:
    async with office.making():
        number = await at_clickpesa(office)
    result = await changed(office, desk, number, amount=Decimal(60000))
    assert result.messages == 0
    text = await handed_text(office)
    assert ("60,000" in text, "45,000" in text) == (True, False)


async def test_a_new_description_alone_is_not_told_but_said_from_now_on(
    office: Office, desk: BillDesk
) -> None:
    number = await made(office)
    result = await changed(office, desk, number, description="Fees and lunch")
    assert (result.messages, result.bill.terms[0].description) == (0, "Fees and lunch")
    assert office.bills[number].description == "Fees and lunch"


async def test_a_new_due_time_moves_the_reminders(office: Office, desk: BillDesk) -> None:
    number = await made(office, due_in=timedelta(days=10), before=(timedelta(days=3),))
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(days=20)
    result = await changed(office, desk, number, due_at=due)
    assert result.bill.next_reminder_at == due - timedelta(days=3)
    assert (result.messages, result.clickpesa) == (1, "off")


async def test_a_new_reminder_plan_replaces_the_old_one(office: Office, desk: BillDesk) -> None:
    number = await made(office, due_in=timedelta(days=10), before=(timedelta(days=3),))
    due = (await office.engine.bills.get(number)).terms[0].due_at
    plan = Reminders(before_due=(timedelta(days=1),), after_due=(), max=5)
    result = await changed(office, desk, number, reminders=plan)
    assert due is not None
    assert result.bill.next_reminder_at == due - timedelta(days=1)
    assert result.messages == 0


async def test_an_amount_that_was_paid_already_settles_the_bill(office: Office, desk: BillDesk) -> None:
    number = await made(office, kind=BillKind.CUSTOMER)
    await office.pays(number, 20000)
    await sent(office)
    result = await changed(office, desk, number, amount=Decimal(20000))
    assert (result.bill.status, result.bill.next_reminder_at, result.messages) == ("settled", None, 0)
    again = await changed(office, desk, number, amount=Decimal(30000))
    assert (again.bill.status, again.bill.balance, again.messages) == ("open", "10000", 1)
    assert again.bill.next_reminder_at is not None
    assert (await office.engine.ledger.check()).differences == []


async def test_inactive_ends_everything_here_and_at_clickpesa(office: Office, desk: BillDesk) -> None:
    async with office.making():
        number = await at_clickpesa(office)
        result = await changed(office, desk, number, status="INACTIVE")
        assert (result.bill.status, result.canceled, result.clickpesa) == ("stopped", 1, "later")
        await until_found(lambda: _status(office, number, "INACTIVE"))
    assert await all_handed(office) == []
    again = await changed(office, desk, number, status="ACTIVE")
    assert (again.bill.status, office.bills[number].status) == ("open", "ACTIVE")
    assert again.bill.next_reminder_at is not None


async def test_who_was_not_told_before_the_bill_was_cancelled_is_told_when_it_goes_on(
    office: Office, desk: BillDesk
) -> None:
    async with office.making():
        number = await at_clickpesa(office, due_in=None)
    await changed(office, desk, number, status="INACTIVE")
    assert await all_handed(office) == []
    assert (await changed(office, desk, number, status="ACTIVE")).messages == 1
    [message] = await queued(office, number, Kind.INSTRUCTIONS)
    assert message.state is State.QUEUED
    await sent(office)
    # Who has heard of it is told nothing of a cancel that was taken back, as of the cancel itself.
    await changed(office, desk, number, status="INACTIVE")
    assert (await changed(office, desk, number, status="ACTIVE")).messages == 0


async def test_who_was_told_to_pay_no_more_hears_what_is_to_be_paid_when_the_bill_goes_on(
    office: Office, desk: BillDesk
) -> None:
    number = await made(office, kind=BillKind.CUSTOMER)
    await changed(office, desk, number, status="INACTIVE")
    await office.engine.payments.settle(paid(number, "10000"))
    assert "Huhitaji kulipa zaidi" in await handed_text(office)
    assert (await changed(office, desk, number, status="ACTIVE")).messages == 1
    text = await handed_text(office)
    assert ("35,000" in text, number in text) == (True, True)


async def _status(office: Office, number: str, status: str) -> bool:
    return office.bills[number].status == status


async def test_stop_alone_leaves_the_number_payable(office: Office) -> None:
    async with office.making():
        number = await at_clickpesa(office)
        await office.engine.bills.stop(number, by="cli")
    assert (await office.engine.ledger.stats()).clickpesa_to_tell == 0
    assert office.bills[number].status == "ACTIVE"
    result = await office.pays(number, 45000)
    assert (result.outcome, result.receipts) == ("settled", 1)


async def test_while_clickpesa_is_away_a_change_changes_nothing(office: Office, desk: BillDesk) -> None:
    number = await made(office)
    office.city.faults.rate("clickpesa", "error-before", 1.0)
    with pytest.raises(ProviderAway, match="nothing was changed"):
        await changed(office, desk, number, amount=Decimal(60000))
    assert (await office.engine.bills.get(number)).balance == "45000"
    assert (await changed(office, desk, number, status="INACTIVE")).bill.status == "stopped"


async def test_a_number_that_clickpesa_does_not_have_changes_here(office: Office, desk: BillDesk) -> None:
    await office.engine.shares.accept(job("55042914870001"))
    result = await changed(office, desk, "55042914870001", amount=Decimal(1000))
    assert (result.bill.balance, result.clickpesa) == ("1000", "unknown")


async def test_what_cannot_change_is_refused_before_clickpesa_is_asked(
    office: Office, desk: BillDesk
) -> None:
    number = await made(office)
    with pytest.raises(Refused, match="term: an order number is one bill"):
        await changed(office, desk, number, term="2", amount=Decimal(1))
    await office.pays(number, 45000)
    with pytest.raises(Refused, match="is settled"):
        await changed(office, desk, number, amount=Decimal(60000))
    assert office.bills[number].amount == Decimal(45000)
    with pytest.raises(NotFound):
        await changed(office, desk, "1", amount=Decimal(1))


# The next term of a customer number


async def test_a_next_term_is_one_call_and_carries_the_old_balance(office: Office, desk: BillDesk) -> None:
    number = await made(office, kind=BillKind.CUSTOMER, amount=45000)
    await office.pays(number, 30000)
    await sent(office)
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    result = await changed(
        office, desk, number, term="2", amount=Decimal(60000), description="Term 3", due_at=due,
        reminders=Reminders(before_due=(timedelta(days=2),), after_due=(), max=1),
    )  # fmt: skip
    assert (result.bill.balance, result.messages) == ("75000", 1)
    assert result.bill.next_reminder_at == due - timedelta(days=2)
    assert office.bills[number].amount == Decimal(75000)
    text = await handed_text(office)
    assert ("75,000" in text, "15,000" in text) == (True, True)
    [share] = result.bill.shares
    assert (await office.engine.shares.get(share)).term == "2"


async def test_money_pays_the_old_term_first_and_the_receipt_goes_to_the_share(
    office: Office, desk: BillDesk
) -> None:
    number = await made(office, kind=BillKind.CUSTOMER, amount=45000)
    await office.pays(number, 30000)
    await changed(office, desk, number, term="2", amount=Decimal(60000))
    await sent(office)
    result = await office.pays(number, 15000)
    assert (result.outcome, result.receipts) == ("partial", 1)
    bill = await office.engine.bills.get(number)
    assert [(t.term, t.balance) for t in bill.terms] == [("1", "0"), ("2", "60000")]
    assert (await office.pays(number, 60000)).outcome == "settled"


async def test_an_exact_next_term_takes_the_carried_total(office: Office, desk: BillDesk) -> None:
    number = await made(office, kind=BillKind.CUSTOMER, amount=45000)
    await office.pays(number, 30000)
    await changed(office, desk, number, term="2", amount=Decimal(60000), mode=BillMode.EXACT)
    assert (await office.pays(number, 75000)).outcome == "settled"


async def test_a_part_paid_bill_that_becomes_exact_can_be_paid(office: Office, desk: BillDesk) -> None:
    number = await made(office, kind=BillKind.CUSTOMER, amount=20000)
    await office.pays(number, 5000)
    assert (await changed(office, desk, number, mode=BillMode.EXACT)).clickpesa == "updated"
    assert (await office.pays(number, 15000)).outcome == "settled"


async def exact(office: Office) -> str:
    return await made(office, kind=BillKind.CUSTOMER, amount=20000, bill_mode=BillMode.EXACT)


async def told(office: Office) -> None:
    """ClickPesa hears all that it must."""
    async with office.making():
        await until_found(lambda: _nothing_to_tell(office))


async def rest_is_paid(office: Office, number: str, rest: int) -> None:
    """What is left can be paid at ClickPesa, whose wallet takes nothing but the amount that it has."""
    await told(office)
    assert (await office.pays(number, rest)).outcome == "settled"
    assert (await office.engine.ledger.check()).differences == []


async def test_the_rest_of_an_exact_bill_can_be_paid_after_staff_matched_a_wrong_amount(
    office: Office,
) -> None:
    number = await exact(office)
    kept = await office.engine.payments.settle(paid(number, "5000"))
    assert (kept.outcome, kept.reason) == ("unmatched", "wrong amount on an exact bill")
    assert (await office.engine.payments.match(kept.payment, number, by="cli")).outcome == "partial"
    await rest_is_paid(office, number, 15000)


async def test_the_rest_of_an_exact_bill_can_be_paid_after_a_match_from_elsewhere(office: Office) -> None:
    number = await exact(office)
    kept = await office.engine.payments.settle(paid("NOBODY7", "5000"))
    await office.engine.payments.match(kept.payment, number, by="cli")
    await rest_is_paid(office, number, 15000)


async def test_the_rest_of_an_exact_bill_can_be_paid_after_cash_for_its_oldest_term(
    office: Office, desk: BillDesk
) -> None:
    number = await exact(office)
    await changed(office, desk, number, term="2", amount=Decimal(60000))
    await office.engine.payments.add(number, Cash(id="1", amount=Decimal(20000), note=None), by="cli")
    await rest_is_paid(office, number, 60000)


async def test_the_rest_of_an_exact_bill_can_be_paid_after_an_old_amount_came_late(
    office: Office, desk: BillDesk
) -> None:
    number = await exact(office)
    await changed(office, desk, number, term="2", amount=Decimal(60000))
    # The wallet was asked before the next term came.
    assert (await office.engine.payments.settle(paid(number, "20000"))).outcome == "partial"
    await rest_is_paid(office, number, 60000)


@pytest.mark.parametrize("stopped", [False, True])
async def test_all_of_an_exact_bill_can_be_paid_after_cash_was_taken_back(
    office: Office, stopped: bool
) -> None:
    number = await exact(office)
    kept = await office.engine.payments.settle(paid(number, "5000"))
    await office.engine.payments.match(kept.payment, number, by="cli")
    cash = await office.engine.payments.add(number, Cash(id="1", amount=Decimal(15000), note=None), by="cli")
    await told(office)
    if stopped:
        await office.engine.bills.stop(number, by="cli")
    await office.engine.payments.take_back(cash.payment, "typo", by="cli")
    await rest_is_paid(office, number, 15000)


async def test_all_of_an_exact_bill_can_be_paid_after_a_reversal(office: Office) -> None:
    number = await exact(office)
    first = paid(number, "5000", id="p1")
    kept = await office.engine.payments.settle(first)
    await office.engine.payments.match(kept.payment, number, by="cli")
    await told(office)
    assert office.bills[number].amount == Decimal(15000)
    await office.engine.payments.settle(paid(number, "5000", id="p1", status="REVERSED"))
    await rest_is_paid(office, number, 20000)


async def test_the_rest_of_an_exact_bill_can_be_paid_after_credit(office: Office, desk: BillDesk) -> None:
    number = await exact(office)
    kept = await office.engine.payments.settle(paid(number, "25000"))
    assert (await office.engine.payments.match(kept.payment, number, by="cli")).outcome == "over"
    await changed(office, desk, number, term="2", amount=Decimal(60000))
    await rest_is_paid(office, number, 55000)


async def test_the_rest_of_an_exact_bill_can_be_paid_when_it_is_taken_up_again(
    office: Office, desk: BillDesk
) -> None:
    number = await exact(office)
    await changed(office, desk, number, status="INACTIVE")
    kept = await office.engine.payments.settle(paid(number, "5000"))
    await office.engine.payments.match(kept.payment, number, by="cli")
    await told(office)
    assert office.bills[number].status == "INACTIVE"
    assert (await changed(office, desk, number, status="ACTIVE")).clickpesa == "updated"
    await rest_is_paid(office, number, 15000)


async def test_a_stopped_exact_bill_can_still_be_paid_the_rest(office: Office) -> None:
    number = await exact(office)
    kept = await office.engine.payments.settle(paid(number, "5000"))
    await office.engine.bills.stop(number, by="cli")
    await office.engine.payments.match(kept.payment, number, by="cli")
    await rest_is_paid(office, number, 15000)


@pytest.mark.parametrize("mode", list(BillMode))
async def test_a_share_of_another_term_is_known_at_clickpesa(office: Office, mode: BillMode) -> None:
    phone = "+255754990004"
    number = await made(office, kind=BillKind.CUSTOMER, amount=20000, bill_mode=mode, phone=phone)
    await office.engine.shares.accept(
        job(number, kind=BillKind.CUSTOMER, term="2", amount="60000", bill_mode=mode, description="Term 3",
            phone=phone)
    )  # fmt: skip
    await told(office)
    at = office.bills[number]
    if mode is BillMode.PARTIAL:
        assert (at.description, at.amount) == ("Term 3", Decimal(80000))
        return
    # It takes one amount: what was asked for first, and then the rest.
    assert (at.description, at.amount) == ("Term 2 fees", Decimal(20000))
    assert (await office.pays(number, 20000)).outcome == "partial"
    await rest_is_paid(office, number, 60000)
    assert at.description == "Term 3"


async def test_a_next_term_after_all_was_paid_wakes_the_share(office: Office, desk: BillDesk) -> None:
    number = await made(office, kind=BillKind.CUSTOMER)
    await office.pays(number, 45000)
    await sent(office)
    due = datetime.now(UTC) + timedelta(days=30)
    result = await changed(office, desk, number, term="2", amount=Decimal(60000), due_at=due)
    share = await office.engine.shares.get(result.bill.shares[0])
    assert (result.bill.status, share.state, result.messages) == ("open", "active", 1)
    assert (await office.engine.ledger.stats()).open_bills == 1
    assert "60,000" in await handed_text(office)


async def test_two_shares_of_one_contact_become_one_voice(office: Office, desk: BillDesk) -> None:
    number = await made(office, kind=BillKind.CUSTOMER, phone="+255754000111")
    await office.engine.shares.accept(job(number, kind=BillKind.CUSTOMER, term="2", phone="+255754000111"))
    result = await changed(office, desk, number, term="3", amount=Decimal(60000))
    assert result.messages == 1
    assert len(result.bill.shares) == 1
    assert "150,000" in await handed_text(office)
    assert (await office.engine.ledger.check()).differences == []


# What was paid too much


async def test_what_was_paid_too_much_pays_the_next_term_and_is_named(office: Office, desk: BillDesk) -> None:
    number = await made(office, kind=BillKind.CUSTOMER, amount=45000)
    assert (await office.pays(number, 50000)).outcome == "over"
    await sent(office)
    result = await changed(office, desk, number, term="2", amount=Decimal(60000), description="Term 3")
    assert (result.bill.balance, result.bill.credit, result.messages) == ("55000", "0", 1)
    second = result.bill.terms[1]
    assert (second.paid, second.from_credit) == ("5000", "5000")
    assert office.bills[number].amount == Decimal(55000)
    text = await handed_text(office)
    assert ("55,000" in text, "baada ya salio TZS 5,000" in text) == (True, True)
    assert (await office.pays(number, 55000)).outcome == "settled"
    assert (await office.engine.ledger.check()).differences == []


async def test_a_next_term_that_credit_pays_whole_asks_for_nothing(office: Office, desk: BillDesk) -> None:
    number = await made(office, kind=BillKind.CUSTOMER, amount=45000)
    await office.pays(number, 65000)
    await sent(office)
    result = await changed(office, desk, number, term="2", amount=Decimal(15000))
    assert (result.bill.status, result.bill.credit, result.messages) == ("settled", "5000", 0)
    assert result.bill.next_reminder_at is None
    assert (await office.engine.ledger.check()).differences == []


PAID = " (imelipwa / paid)"


async def test_a_next_term_that_credit_pays_whole_is_paid_at_clickpesa_too(
    office: Office, desk: BillDesk
) -> None:
    number = await made(office, kind=BillKind.CUSTOMER, amount=45000)
    await office.pays(number, 65000)
    await changed(office, desk, number, term="2", amount=Decimal(15000), description="Term 3")
    at = office.bills[number]
    assert (at.description, at.amount, at.open) == (f"Term 3{PAID}", Decimal(15000), True)
    await changed(office, desk, number, amount=Decimal(25000))
    assert (at.description, at.amount) == ("Term 3", Decimal(5000))
    assert (await office.engine.ledger.stats()).clickpesa_to_tell == 0


async def test_a_next_term_without_words_does_not_keep_those_of_the_old_one(
    office: Office, desk: BillDesk
) -> None:
    number = await made(office, kind=BillKind.CUSTOMER, amount=45000)
    assert office.bills[number].description == "Term 2 fees"
    result = await changed(office, desk, number, term="2026-3", amount=Decimal(15000))
    at = office.bills[number]
    assert (at.description, result.bill.terms[1].description) == ("Bili / bill 2026-3", None)
    await changed(office, desk, number, term="1", description="Corrected")
    assert at.description == "Bili / bill 2026-3"


async def test_a_customer_number_that_cash_paid_says_so_until_something_is_owed(
    office: Office, desk: BillDesk
) -> None:
    number = await made(office, kind=BillKind.CUSTOMER, amount=45000)
    entered = await office.engine.payments.add(
        number, Cash(id="1", amount=Decimal(45000), note=None), by="cli"
    )
    await told(office)
    at = office.bills[number]
    assert (at.description, at.open) == (f"Term 2 fees{PAID}", True)
    await office.engine.payments.take_back(entered.payment, "typo", by="cli")
    await told(office)
    assert (at.description, at.amount) == ("Term 2 fees", Decimal(45000))


@pytest.mark.parametrize(("amount", "balance", "settled"), [(60000, "55000", False), (5000, "0", True)])
async def test_a_share_of_another_term_uses_credit_too(
    office: Office, amount: int, balance: str, settled: bool
) -> None:
    number = await made(office, kind=BillKind.CUSTOMER, phone="+255754990003")
    await office.pays(number, 50000)
    await sent(office)
    accepted = await office.engine.shares.accept(
        job(number, kind=BillKind.CUSTOMER, term="2", amount=str(amount), phone="+255754990003")
    )
    assert (accepted.settled, len(accepted.messages)) == (settled, 0 if settled else 1)
    bill = await office.engine.bills.get(number)
    assert (bill.balance, bill.credit, bill.status == "settled") == (balance, "0", settled)
    assert (await office.engine.ledger.check()).differences == []
    await told(office)
    assert office.bills[number].description == "Term 2 fees" + PAID * settled
    assert office.bills[number].amount == Decimal(amount if settled else balance)


async def test_a_payment_that_goes_back_takes_its_credit_with_it(office: Office, desk: BillDesk) -> None:
    number = await made(office, kind=BillKind.CUSTOMER, amount=45000)
    await office.engine.payments.settle(paid(number, "50000", id="p1"))
    await changed(office, desk, number, term="2", amount=Decimal(60000))
    await office.engine.payments.settle(paid(number, "50000", id="p1", status="REVERSED"))
    bill = await office.engine.bills.get(number)
    assert [(t.balance, t.from_credit) for t in bill.terms] == [("45000", "0"), ("60000", "0")]
    assert (bill.credit, bill.paid) == ("0", "0")
    assert (await office.engine.ledger.check()).differences == []


async def test_who_paid_twice_owes_nothing_when_one_of_the_two_goes_back(open_office: Open) -> None:
    office = await open_office(on_reversal="resume")
    number = await made(office, kind=BillKind.CUSTOMER, amount=45000)
    await office.engine.payments.settle(paid(number, "45000", id="p1"))
    await office.engine.payments.settle(paid(number, "45000", id="p2"))
    await sent(office)
    await office.engine.payments.settle(paid(number, "45000", id="p1", status="REFUNDED"))
    bill = await office.engine.bills.get(number)
    assert (bill.status, bill.balance, bill.credit) == ("settled", "0", "0")
    text = await handed_text(office)
    assert ("yamerudishwa" in text, "Deni" in text) == (True, False)
    assert (await office.engine.ledger.check()).differences == []


async def test_an_amount_that_falls_below_what_was_paid_leaves_credit(office: Office, desk: BillDesk) -> None:
    number = await made(office, kind=BillKind.CUSTOMER, amount=45000)
    await office.pays(number, 40000)
    lower = await changed(office, desk, number, amount=Decimal(30000))
    assert (lower.bill.status, lower.bill.credit) == ("settled", "10000")
    again = await changed(office, desk, number, term="2", amount=Decimal(20000))
    assert (again.bill.balance, again.bill.credit) == ("10000", "0")
    assert office.bills[number].amount == Decimal(10000)
    assert (await office.engine.ledger.check()).differences == []


# Cash at the counter


async def test_part_in_cash_keeps_an_order_number_open_for_the_rest(office: Office) -> None:
    async with office.making():
        number = await at_clickpesa(office)
        cash = Cash(id="slip-1", amount=Decimal(20000), note="slip 1")
        result = await office.engine.payments.add(number, cash, by="cli:asha")
        assert (result.outcome, result.receipts) == ("partial", 1)
        bill = await office.engine.bills.get(number)
        assert (bill.status, bill.balance) == ("open", "25000")
        await until_found(lambda: _amount(office, number, 25000))
        assert (await office.engine.payments.add(number, cash, by="cli:asha")).outcome == "repeated"
        assert (await office.pays(number, 25000)).outcome == "settled"
    first = (await office.engine.bills.get(number)).payments[0]
    assert (first.channel, first.note, first.matched) == ("CASH", "slip 1", True)
    audit = await office.engine.records.client.xrange("tuma:audit")
    assert [fields["by"] for _, fields in audit if fields["action"] == "cash"] == ["cli:asha", "cli:asha"]


async def _amount(office: Office, number: str, amount: int) -> bool:
    return office.bills[number].amount == Decimal(amount)


async def test_all_in_cash_closes_the_order_number_at_clickpesa(office: Office) -> None:
    async with office.making():
        number = await at_clickpesa(office)
        await office.engine.payments.add(number, Cash(id="1", amount=Decimal(45000), note=None), by="cli")
        await until_found(lambda: _status(office, number, "INACTIVE"))
    assert (await office.engine.bills.get(number)).status is BillStatus.SETTLED
    with pytest.raises(Refused, match="nothing is owed"):
        await office.engine.payments.add(number, Cash(id="2", amount=Decimal(1), note=None), by="cli")
    with pytest.raises(NotFound):
        await office.engine.payments.add("1", Cash(id="3", amount=Decimal(1), note=None), by="cli")


@pytest.mark.parametrize("policy", ["hold", "resume"])
async def test_cash_that_was_entered_wrongly_is_owed_again_and_corrected(
    open_office: Open, policy: str
) -> None:
    office = await open_office(on_reversal=policy)
    number = await made(office, kind=BillKind.CUSTOMER)
    cash = Cash(id="1", amount=Decimal(45000), note="slip 1")
    entered = await office.engine.payments.add(number, cash, by="cli:asha")
    await sent(office)
    taken = await office.engine.payments.take_back(entered.payment, "typo", by="cli:juma")
    assert (taken.outcome, taken.receipts) == ("advanced", 1)
    bill = await office.engine.bills.get(number)
    assert (bill.status, bill.balance, bill.paid) == ("held" if policy == "hold" else "open", "45000", "0")
    assert bill.payments[0].note == "slip 1; taken back: typo"
    text = await handed_text(office)
    assert ("yaliandikwa kimakosa" in text, "yamerudishwa" in text) == (True, False)
    audit = await office.engine.records.client.xrange("tuma:audit")
    [entry] = [fields for _, fields in audit if fields["action"] == "take back"]
    assert (entry["by"], "typo" in entry["subject"]) == ("cli:juma", True)
    assert (await office.engine.payments.take_back(entered.payment, "typo", by="x")).outcome == "repeated"
    assert (await office.engine.ledger.check()).differences == []


async def test_what_clickpesa_took_is_not_taken_back_here(office: Office) -> None:
    number = await made(office, kind=BillKind.CUSTOMER)
    told = await office.engine.payments.settle(paid(number, "45000", id="p1"))
    kept = await office.engine.payments.settle(paid("NOBODY7", "100"))
    await office.engine.payments.match(kept.payment, number, by="cli")
    for payment in (await office.engine.bills.get(number)).payments:
        with pytest.raises(Refused, match="only ClickPesa can return"):
            await office.engine.payments.take_back(payment.id, "typo", by="cli")
    assert (await office.engine.payments.get(told.payment)).status == "SUCCESS"


# What ClickPesa took and we did not


async def test_a_change_that_broke_off_after_clickpesa_took_it_heals(
    office: Office, desk: BillDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await made(office)

    async def broken(*_: object, **__: object) -> None:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(office.engine.changes, "apply", broken)
        with pytest.raises(StoreUnavailable):
            await changed(office, desk, number, amount=Decimal(60000), description="Other")
    assert (office.bills[number].amount, office.bills[number].description) == (Decimal(60000), "Other")
    put_clock_forward(HEALS_AFTER_MS)
    async with office.making():
        await until_found(lambda: _amount(office, number, 45000))
        await until_found(lambda: _nothing_to_tell(office))
    assert office.bills[number].description == "Term 2 fees"
    assert "heal" not in await office.engine.records.account(number)


async def _nothing_to_tell(office: Office) -> bool:
    return (await office.engine.ledger.stats()).clickpesa_to_tell == 0


async def test_a_change_that_worked_leaves_nothing_to_tell(office: Office, desk: BillDesk) -> None:
    number = await made(office)
    await changed(office, desk, number, amount=Decimal(60000))
    await changed(office, desk, number, description="Other")
    assert (await office.engine.ledger.stats()).clickpesa_to_tell == 0
    assert "heal" not in await office.engine.records.account(number)


async def test_what_clickpesa_must_hear_anyway_outlives_a_change(office: Office, desk: BillDesk) -> None:
    number = await made(office)
    await office.engine.payments.add(number, Cash(id="1", amount=Decimal(5000), note=None), by="cli")
    await changed(office, desk, number, description="Other")
    assert (await office.engine.ledger.stats()).clickpesa_to_tell == 1


# Money that goes back


async def test_a_returned_payment_is_owed_again_and_corrected(office: Office) -> None:
    number = await made(office, kind=BillKind.CUSTOMER)
    await office.engine.payments.settle(paid(number, "45000", id="p1"))
    await sent(office)
    await office.engine.payments.settle(paid(number, "45000", id="p1", status="REVERSED"))
    bill = await office.engine.bills.get(number)
    assert (bill.status, bill.balance, bill.paid) == (BillStatus.HELD, "45000", "0")
    text = await handed_text(office)
    assert "yamerudishwa" in text
    assert "45,000" in text
    [kept] = await office.engine.payments.unmatched()
    await office.engine.payments.dismiss(kept.id, by="cli")
    bill = await office.engine.bills.get(number)
    assert (bill.status, bill.next_reminder_at is not None) == (BillStatus.OPEN, True)


async def test_by_policy_reminders_resume_at_once(open_office: Open) -> None:
    office = await open_office(on_reversal="resume")
    number = await made(office, kind=BillKind.CUSTOMER)
    await office.engine.payments.settle(paid(number, "45000", id="p1"))
    await office.engine.payments.settle(paid(number, "45000", id="p1", status="REFUNDED"))
    bill = await office.engine.bills.get(number)
    assert (bill.status, bill.next_reminder_at is not None) == (BillStatus.OPEN, True)
    assert await office.engine.payments.unmatched() == []
    again = await office.engine.payments.settle(paid(number, "45000", id="p1", status="REVERSED"))
    assert again.outcome == "repeated"
    assert (await office.engine.bills.get(number)).balance == "45000"


async def test_a_returned_payment_of_an_order_number_needs_a_new_number(open_office: Open) -> None:
    office = await open_office(on_reversal="resume")
    number = await made(office)
    await office.engine.payments.settle(paid(number, "45000", id="p1"))
    await sent(office)
    await office.engine.payments.settle(paid(number, "45000", id="p1", status="REVERSED"))
    async with office.making():
        new = await office.successor(number)
    assert (await office.engine.bills.get(new)).balance == "45000"
    kinds = {m.kind for m in await messages(office, new) if m.state is not State.DONE}
    assert kinds == {Kind.CORRECTION, Kind.INSTRUCTIONS}


async def test_a_payment_that_goes_back_after_the_bill_moved_on_is_owed_under_the_new_number(
    open_office: Open,
) -> None:
    office = await open_office(on_reversal="resume")
    number = await made(office)
    first = paid(number, "20000", id="p1")
    await office.engine.payments.settle(first)
    async with office.making():
        new = await office.successor(number)
        await office.engine.payments.settle(paid(number, "20000", id="p1", status="REVERSED"))
        await until_found(lambda: _amount(office, new, 45000))
    assert (await office.engine.bills.get(new)).balance == "45000"
    assert (await office.engine.bills.get(number)).balance == "0"
    assert (await office.engine.ledger.check()).differences == []


async def test_a_correction_is_one_per_channel_and_keeps_the_receipts_number(office: Office) -> None:
    number = await made(office, kind=BillKind.CUSTOMER)
    await office.engine.payments.settle(paid(number, "45000", id="p1"))
    await office.engine.payments.settle(paid(number, "45000", id="p1", status="REVERSED"))
    [correction] = await queued(office, number, Kind.CORRECTION)
    assert correction.outcome is not Outcome.CANCELED
    [payment] = (await office.engine.bills.get(number)).payments
    text = [text for text in await all_handed(office) if "yamerudishwa" in text]
    assert [payment.receipt in each for each in text if payment.receipt] == [True]


async def test_a_cancelled_bill_stays_cancelled_whatever_its_money_does(
    office: Office, desk: BillDesk
) -> None:
    number = await made(office)
    await changed(office, desk, number, status="INACTIVE")
    assert (await office.engine.payments.settle(paid(number, "10000", id="p1"))).outcome == "partial"
    await office.engine.payments.add(number, Cash(id="1", amount=Decimal(5000), note=None), by="cli")
    rest = await office.engine.payments.add(number, Cash(id="2", amount=Decimal(30000), note=None), by="cli")
    assert rest.outcome == "settled"
    await office.engine.payments.settle(paid(number, "10000", id="p1", status="REVERSED"))
    [kept] = await office.engine.payments.unmatched()
    await office.engine.payments.dismiss(kept.id, by="cli")
    assert (await office.engine.bills.get(number)).status == "stopped"
    assert (await office.engine.bills.get(number)).next is None
    assert (await office.engine.ledger.stats()).creating == 0
    assert (await office.engine.ledger.check()).differences == []


@pytest.mark.parametrize("kind", list(BillKind))
@pytest.mark.parametrize("cancel", [True, False])
async def test_the_receipt_of_a_late_part_claims_no_debt(
    office: Office, desk: BillDesk, kind: BillKind, cancel: bool
) -> None:
    number = await made(office, kind=kind)
    if cancel:
        await changed(office, desk, number, status="INACTIVE")
    else:
        await office.engine.bills.stop(number, by="cli")
    await office.engine.payments.settle(paid(number, "10000", id="p1"))
    text = await handed_text(office)
    assert ("10,000" in text, "Deni" in text, "35,000" in text) == (True, False, False)
    assert "Huhitaji kulipa zaidi" in text


async def test_a_receipt_that_still_waits_when_its_bill_is_cancelled_claims_no_debt(
    office: Office, desk: BillDesk
) -> None:
    number = await made(office)
    await office.engine.payments.settle(paid(number, "10000", id="p1"))
    async with office.making():
        new = await office.successor(number)
    await changed(office, desk, new, status="INACTIVE")
    text = await handed_text(office)
    assert ("10,000" in text, "Deni" in text, new in text) == (True, False, False)


async def test_a_receipt_of_money_that_went_back_meanwhile_does_not_go_out(office: Office) -> None:
    number = await made(office, kind=BillKind.CUSTOMER)
    await office.engine.payments.settle(paid(number, "45000", id="p1"))
    await office.engine.payments.settle(paid(number, "45000", id="p1", status="REVERSED"))
    [text] = await all_handed(office)
    assert "yamerudishwa" in text
    [receipt] = [m for m in await messages(office, number) if m.kind is Kind.RECEIPT]
    assert (receipt.outcome, receipt.reason) == (Outcome.CANCELED, "returned")
    assert (await office.engine.ledger.check()).differences == []


async def test_a_cancelled_number_has_no_next_term_until_it_is_active(office: Office, desk: BillDesk) -> None:
    number = await made(office, kind=BillKind.CUSTOMER)
    await changed(office, desk, number, status="INACTIVE")
    with pytest.raises(Refused, match="ACTIVE lets it go on"):
        await changed(office, desk, number, term="2", amount=Decimal(10000))
    assert (await office.engine.bills.get(number)).status == "stopped"


async def part_paid(office: Office) -> tuple[str, str]:
    """A bill of 45000 of which 20000 were paid, and the number of its balance."""
    number = await made(office)
    await office.engine.payments.settle(paid(number, "20000", id="p1"))
    async with office.making():
        new = await office.successor(number)
    await sent(office)
    return number, new


async def stands(office: Office, number: str) -> tuple[str, str, str]:
    """Total, paid and balance, which page, bill and ClickPesa must agree on."""
    bill = await office.engine.bills.get(number)
    [term] = bill.terms
    page = await office.engine.shares.by_token((await office.engine.shares.get(bill.shares[0])).token)
    shown = (term.amount, term.paid, term.balance)
    assert (page.total, page.paid, page.amount) == tuple(map(Decimal, shown))
    assert (bill.balance, bill.paid) == (term.balance, term.paid)
    if bill.status == "open":
        assert office.bills[number].amount == Decimal(term.balance)
    return shown


@pytest.mark.parametrize("named", ["old", "new"])
async def test_a_new_amount_counts_what_the_old_number_took(
    office: Office, desk: BillDesk, named: str
) -> None:
    old, new = await part_paid(office)
    assert await stands(office, new) == ("45000", "20000", "25000")
    await changed(office, desk, old if named == "old" else new, amount=Decimal(60000))
    assert await stands(office, new) == ("60000", "20000", "40000")
    text = await handed_text(office)
    assert ("40,000" in text, "60,000" in text) == (True, False)
    assert (await office.pays(new, 40000)).outcome == "settled"
    assert await stands(office, new) == ("60000", "60000", "0")
    assert (await office.engine.ledger.check()).differences == []


async def test_a_new_amount_below_what_the_old_number_took_is_refused(office: Office, desk: BillDesk) -> None:
    _, new = await part_paid(office)
    with pytest.raises(Refused, match="less than the 20000 paid under the number before"):
        await changed(office, desk, new, amount=Decimal(15000))
    assert office.bills[new].amount == Decimal(25000)
    result = await changed(office, desk, new, amount=Decimal(20000))
    assert (result.bill.status, result.bill.balance, result.clickpesa) == ("settled", "0", "later")
    async with office.making():
        await until_found(lambda: _status(office, new, "INACTIVE"))


async def test_a_new_amount_after_the_old_payment_went_back_is_owed_whole(
    open_office: Open,
) -> None:
    office = await open_office(on_reversal="resume")
    desk = BillDesk(office.client, office.engine.changes, office.engine.bills)
    old, new = await part_paid(office)
    await office.engine.payments.settle(paid(old, "20000", id="p1", status="REVERSED"))
    await told(office)
    assert await stands(office, new) == ("45000", "0", "45000")
    await changed(office, desk, new, amount=Decimal(40000))
    assert await stands(office, new) == ("40000", "0", "40000")


@pytest.mark.parametrize(("amount", "fine"), [("45000", True), ("25000", True), ("30000", False)])
async def test_a_share_of_a_balance_may_name_the_bill_or_what_is_left(
    office: Office, amount: str, fine: bool
) -> None:
    _, new = await part_paid(office)
    following = job(new, amount=amount, phone="+255754990020", additional_contact=True)
    if fine:
        assert (await office.engine.shares.accept(following)).state == "active"
        return
    with pytest.raises(Refused, match="expected 45000"):
        await office.engine.shares.accept(following)


# What an order number that took money cannot do any more


async def test_a_cancelled_order_number_that_took_money_says_what_to_do_instead(
    office: Office, desk: BillDesk
) -> None:
    number = await made(office)
    await changed(office, desk, number, status="INACTIVE")
    await told(office)
    await office.engine.payments.settle(paid(number, "10000"))
    await told(office)
    with pytest.raises(Refused, match="another bill for the 35000 that are left: tuma bill create"):
        await changed(office, desk, number, status="ACTIVE")
    assert office.bills[number].status == "INACTIVE"
    await office.engine.payments.add(number, Cash(id="1", amount=Decimal(35000), note=None), by="cli")
    with pytest.raises(Refused, match="nothing is owed for this one"):
        await changed(office, desk, number, status="ACTIVE")


async def test_a_cancelled_order_number_is_dead_also_when_staff_put_its_money_aside(
    office: Office, desk: BillDesk
) -> None:
    number = await made(office, bill_mode=BillMode.EXACT)
    await changed(office, desk, number, status="INACTIVE")
    kept = await office.engine.payments.settle(paid(number, "10000"))
    await office.engine.payments.dismiss(kept.payment, by="cli")
    await told(office)
    with pytest.raises(Refused, match=r"is closed.* another bill for the 45000"):
        await changed(office, desk, number, status="ACTIVE")
    assert (await office.engine.bills.get(number)).status == "stopped"


@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_a_number_that_took_a_part_is_dead_also_when_its_bill_is_stopped_before_it_has_another(
    office: Office, desk: BillDesk, how: str
) -> None:
    number = await made(office)
    await office.pays(number, 20000)
    if how == "stop":
        await office.engine.bills.stop(number, by="cli")
    else:
        await changed(office, desk, number, status="INACTIVE")
    with pytest.raises(Refused, match="another bill for the 25000 that are left"):
        await changed(office, desk, number, status="ACTIVE")
    assert (await office.engine.bills.get(number)).status == "stopped"
    assert office.bills[number].status == "INACTIVE"


async def test_a_change_while_the_balance_gets_its_number_is_told_to_wait(
    office: Office, desk: BillDesk
) -> None:
    number = await made(office)
    await office.engine.payments.settle(paid(number, "20000"))
    with pytest.raises(Refused, match="wait a moment"):
        await changed(office, desk, number, amount=Decimal(60000))
    async with office.making():
        new = await office.successor(number)
    await changed(office, desk, number, amount=Decimal(60000))
    assert await stands(office, new) == ("60000", "20000", "40000")


async def test_a_cancelled_number_takes_no_share_of_another_term_until_it_is_active(
    office: Office, desk: BillDesk
) -> None:
    number = await made(office, kind=BillKind.CUSTOMER, phone="+255754990001")
    await changed(office, desk, number, status="INACTIVE")
    following = job(number, kind=BillKind.CUSTOMER, term="2", phone="+255754990001")
    with pytest.raises(Refused, match="cancelled"):
        await office.engine.shares.accept(following)
    assert (await office.engine.bills.get(number)).status == "stopped"
    assert await all_handed(office) == []
    await changed(office, desk, number, status="ACTIVE")
    assert (await office.engine.shares.accept(following)).messages


async def test_a_stop_ends_with_the_next_term_so_that_money_that_goes_back_is_asked_for(
    office: Office,
) -> None:
    number = await made(office, kind=BillKind.CUSTOMER, phone="+255754990002")
    await office.engine.bills.stop(number, by="cli")
    await office.engine.shares.accept(
        job(number, kind=BillKind.CUSTOMER, term="2", amount="10000", phone="+255754990002")
    )
    await office.engine.payments.settle(paid(number, "55000", id="p1"))
    assert (await office.engine.bills.get(number)).status == "settled"
    await office.engine.payments.settle(paid(number, "55000", id="p1", status="REVERSED"))
    [kept] = await office.engine.payments.unmatched()
    await office.engine.payments.dismiss(kept.id, by="cli")
    bill = await office.engine.bills.get(number)
    assert bill.status == "open"
    assert bill.next_reminder_at is not None
    assert (await office.engine.ledger.check()).differences == []


async def test_a_paid_bill_that_was_cancelled_asks_for_nothing_under_a_new_amount(
    office: Office, desk: BillDesk
) -> None:
    number = await made(office, kind=BillKind.CUSTOMER)
    async with office.making():
        await office.pays(number, 45000)
        await sent(office)
        await changed(office, desk, number, status="INACTIVE")
        await until_found(lambda: _status(office, number, "INACTIVE"))
    result = await changed(office, desk, number, amount=Decimal(60000))
    assert (result.bill.status, result.bill.balance, result.messages) == ("stopped", "15000", 0)
    assert await all_handed(office) == []
    again = await changed(office, desk, number, status="ACTIVE")
    assert (again.bill.status, again.bill.balance) == ("open", "15000")
    assert (office.bills[number].status, office.bills[number].amount) == ("ACTIVE", Decimal(15000))


async def test_a_bill_that_was_stopped_after_it_was_paid_is_not_asked_for_when_its_money_goes_back(
    open_office: Open,
) -> None:
    office = await open_office(on_reversal="resume")
    number = await made(office)
    payment = paid(number)
    await office.engine.payments.settle(payment)
    await office.engine.bills.stop(number, by="cli")
    await office.engine.payments.settle(msgspec.structs.replace(payment, status="REVERSED"))
    assert (await office.engine.bills.get(number)).status is BillStatus.STOPPED
    assert await office.engine.creations.urgent(1) == []
    assert "45,000" in await handed_text(office)  # that it went back, and no more


async def test_a_bill_that_was_stopped_while_staff_decide_about_its_money_gets_no_new_number(
    office: Office,
) -> None:
    number = await made(office)
    payment = paid(number)
    await office.engine.payments.settle(payment)
    await office.engine.payments.settle(msgspec.structs.replace(payment, status="REVERSED"))
    await office.engine.bills.stop(number, by="cli")
    assert (await office.engine.bills.get(number)).status is BillStatus.STOPPED
    [kept] = await office.engine.payments.unmatched()
    await office.engine.payments.dismiss(kept.id, by="cli")
    assert await office.engine.creations.urgent(1) == []
    assert (await office.engine.ledger.check()).differences == []


async def test_two_changes_at_once_leave_both_sides_with_one_amount(office: Office, desk: BillDesk) -> None:
    number = await made(office, bill_mode=BillMode.EXACT)
    update, second = office.client.update, asyncio.Event()

    async def update_slowly(number: str, **fields: Any) -> NumberDetails:
        answer = await update(number, **fields)
        if fields.get("amount") == Decimal(60000):
            await second.wait()  # ClickPesa took this one first, and here it comes last
        return answer

    office.client.update = update_slowly  # type: ignore[method-assign]
    first = asyncio.create_task(changed(office, desk, number, amount=Decimal(60000)))
    await until_found(lambda: _asks(office, number, 60000))
    await changed(office, desk, number, amount=Decimal(50000))
    second.set()
    assert (await first).bill.balance == "60000"
    async with office.making():
        await until_found(lambda: _asks(office, number, 60000))


async def test_a_bill_that_goes_on_while_clickpesa_is_still_told_of_its_end_can_be_paid(
    office: Office, desk: BillDesk
) -> None:
    number = await made(office)
    update = office.client.update
    under_way, late, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def update_slowly(number: str, **fields: Any) -> NumberDetails:
        if fields.get("status") != "INACTIVE":
            return await update(number, **fields)
        under_way.set()
        await late.wait()
        answer = await update(number, **fields)
        assert office.bills[number].status == "INACTIVE"
        ended.set()
        return answer

    office.client.update = update_slowly  # type: ignore[method-assign]
    async with office.making():
        await changed(office, desk, number, status="INACTIVE")
        await asyncio.wait_for(under_way.wait(), 20)
        await changed(office, desk, number, status="ACTIVE")
        late.set()
        await asyncio.wait_for(ended.wait(), 20)
        await until_found(lambda: _status(office, number, "ACTIVE"))


async def test_cash_counts_once_also_when_its_bill_has_another_number_meanwhile(office: Office) -> None:
    async with office.making():
        old = await at_clickpesa(office)
    await office.pays(old, 20000)
    cash = Cash(id="slip-9", amount=Decimal(5000), note="slip 9")
    assert (await office.engine.payments.add(old, cash, by="cli")).outcome == "partial"
    async with office.making():
        new = await office.successor(old)
    for number in (old, new):
        assert (await office.engine.payments.add(number, cash, by="cli")).outcome == "repeated"
    assert (await office.engine.bills.get(new)).balance == "20000"
