"""Payments that staff must decide about, and cash: one tap, by those who may, with the receipt that follows."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from tests.staff.conftest import Office


async def test_an_unmatched_payment_comes_with_the_bill_it_may_be_for(office: Office) -> None:
    accepted = await office.share(amount="45000", name="Neema Kileo")
    await office.share(amount="99000", name="Juma Hamisi")
    async with office.alerted():
        payment = office.payment("000917", 45000)
        await office.engine.payments.settle(msgspec.structs.replace(payment, payer_name="Neema Kileo"))
    await office.operator.sees("It may be for:")
    assert f"{accepted.number} Neema Kileo" in office.operator.text
    assert "same name, same amount" in office.operator.text
    assert "It is for" not in str(office.viewer.labels)
    await office.operator.presses(
        f"It is for {accepted.number}", sees="the payment counts; 1 receipt(s) go out"
    )
    assert (await office.engine.bills.get(accepted.number)).status == "settled"
    assert await office.engine.payments.unmatched() == []


async def test_the_payers_phone_finds_the_bill(office: Office) -> None:
    accepted = await office.share(phone="+255754999111", amount="45000")
    payment = msgspec.structs.replace(office.payment("000917", 7), payer_phone="255754999111")
    kept = await office.engine.payments.settle(payment)
    [found] = await office.engine.suggestions.of(kept.payment)
    assert (found.number, found.because) == (accepted.number, ("phone",))


async def test_a_paid_bill_is_no_suggestion(office: Office) -> None:
    accepted = await office.share(amount="45000", kind="customer")
    await office.engine.payments.settle(office.payment(accepted.number, 45000))
    kept = await office.engine.payments.settle(office.payment("000917", 45000))
    assert await office.engine.suggestions.of(kept.payment) == []


async def test_what_is_left_after_a_payment_is_what_is_looked_for(office: Office) -> None:
    accepted = await office.share(amount="45000", kind="customer")
    await office.engine.payments.settle(office.payment(accepted.number, 20000))
    kept = await office.engine.payments.settle(office.payment("000917", 25000))
    [found] = await office.engine.suggestions.of(kept.payment)
    assert (found.number, found.balance) == (accepted.number, "25000")


async def test_a_payment_for_no_bill_is_put_aside_after_a_question(office: Office) -> None:
    await office.pay("NOBODY7", 5000)
    assert "Payments waiting for a decision" in await office.operator.says("/payments")
    await office.operator.presses("TZS 5,000 · NOBODY7", sees="No bill fits")
    await office.operator.presses("For no bill", sees="Does this payment belong to no bill?")
    await office.operator.presses("Yes, for no bill", sees="The payment is put aside")
    assert "No payment waits" in await office.operator.says("/payments")


async def test_cash_is_entered_after_a_look_and_noted_with_who_did_it(office: Office) -> None:
    accepted = await office.share(amount="45000", name="Asha Juma")
    asked = await office.operator.says(f"/cash {accepted.number} 20,000/= slip 118")
    assert "Did you take TZS 20,000 in cash" in asked
    assert "slip 118" in office.operator.text
    assert (await office.engine.bills.get(accepted.number)).balance == "45000"
    await office.operator.presses("Enter it", sees="the payment counts; 1 receipt(s)")
    bill = await office.engine.bills.get(accepted.number)
    assert (bill.balance, bill.payments[0].note, bill.payments[0].channel) == ("25000", "slip 118", "CASH")
    audit = await office.engine.records.client.xrange("tuma:audit")
    assert ("telegram:1002", "cash") in {(fields["by"], fields["action"]) for _, fields in audit}


async def test_a_viewer_may_not_enter_cash(office: Office) -> None:
    accepted = await office.share(amount="45000")
    assert "viewer" in await office.viewer.says(f"/cash {accepted.number} 20000")
    assert (await office.engine.bills.get(accepted.number)).balance == "45000"


async def test_cash_that_cannot_be_is_told(office: Office) -> None:
    accepted = await office.share(amount="45000")
    assert "no" in await office.operator.says("/cash 1 20000")
    assert "amount" in await office.operator.says(f"/cash {accepted.number} a-lot")
    assert "AMOUNT NOTE" in await office.operator.says("/cash")
    assert Decimal((await office.engine.bills.get(accepted.number)).paid) == 0
