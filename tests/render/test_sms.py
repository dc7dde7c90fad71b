"""An SMS is one segment, whatever people are called, and always says what matters."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.domain.message import Kind
from bot.errors import TemplateError
from bot.render.facts import Facts
from bot.render.locale import money
from bot.render.samples import sample_facts, variants
from bot.render.segments import count, is_gsm
from channels.base import ChannelName, SmsContent
from tests.render.examples import facts, paid, rendered, renderer

RENDERER = renderer(mpesa_business_number="5551234")
LINK = "https://lipa.example.co.tz/pay/3-3yUjRk2wQm8nTz5x"
SMS = ChannelName.SMS
LANGUAGES = st.sampled_from(["sw", "en"])
NUMBERS = st.text("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789", min_size=1, max_size=20)
AMOUNTS = st.decimals(Decimal("0.01"), Decimal("9999999999.99"), places=2)
TEXTS = st.one_of(st.none(), st.text(max_size=200), st.text("€[]{}^~|\\’…–é ", max_size=120))
NAMES = st.sampled_from(
    ["Shule Uhuru", "Shule ya Sekondari ya Wasichana Kibaha", "€[Duka]€ la {Mama} Ng’ombe"]
)
# A renderer reads and compiles every template, once each.
renderer_of = cache(lambda merchant: renderer(merchant_name=merchant))


def text(given: Facts) -> str:
    return rendered(SmsContent, given, RENDERER).text


@st.composite
def bills(draw: st.DrawFn) -> Facts:
    """Any bill of anybody, of any kind."""
    case = draw(st.sampled_from(["usual", "bare", "long", "late"]))
    bill = variants(draw(st.sampled_from(list(Kind))), SMS, draw(LANGUAGES))[case]
    amount = draw(AMOUNTS)
    payment = bill.payment and replace(
        bill.payment, amount=amount, reason=draw(TEXTS), reference=draw(TEXTS) or ""
    )
    return replace(
        bill, name=draw(TEXTS), description=draw(TEXTS), number=draw(NUMBERS), amount=amount, payment=payment
    )


@settings(max_examples=300)
@given(bills(), NAMES)
def test_any_names_leave_one_segment_with_number_and_amount_unbroken(bill: Facts, merchant: str) -> None:
    sent = rendered(SmsContent, bill, renderer_of(merchant)).text
    assert count(sent).segments == 1
    assert is_gsm(sent)
    assert bill.number in sent
    amount = bill.payment.amount if bill.kind is Kind.RECEIPT and bill.payment else bill.amount
    assert amount is not None
    assert money(bill.locale, amount, "TZS") in sent or (bill.payment and bill.payment.number_closed)
    assert sent[:5] in ("Shule", "€[Duk")


def test_instructions_say_who_what_by_when_and_how() -> None:
    bill = facts(Kind.INSTRUCTIONS, SMS, "en", name="Asha", order_number=False, pay_url=None)
    due = bill.due_at
    assert due is not None
    assert text(bill) == (
        "Shule Uhuru: Asha, pay TZS 45,000 (Term 2 fees) to control number 55042914871931 by "
        f"{due.day} {due:%b} {due.year}. Company no: Mixx/HaloPesa 889999, M-Pesa 5551234, Airtel 47."
    )


def test_swahili_instructions_are_swahili() -> None:
    sent = text(facts(Kind.INSTRUCTIONS, SMS, "sw", due_at=None, pay_url=None, order_number=False))
    assert sent == (
        "Shule Uhuru: Asha Juma, lipa TZS 45,000 (Ada ya muhula wa pili) kwa namba ya malipo 55042914871931."
        " Kampuni: Mixx/HaloPesa 889999, M-Pesa 5551234, Airtel 47."
    )


def test_the_link_is_there_when_it_fits() -> None:
    bill = facts(Kind.INSTRUCTIONS, SMS, "en", description=None, due_at=None, order_number=False)
    sent = text(replace(bill, pay_url=LINK))
    assert sent.endswith(LINK)
    assert "889999" in sent


def test_a_link_that_does_not_fit_is_left_out_whole() -> None:
    sent = text(facts(Kind.INSTRUCTIONS, SMS, "en", pay_url="https://example.co.tz/" + "x" * 120))
    assert "http" not in sent
    assert "889999" in sent


@pytest.mark.parametrize("kind", [Kind.INSTRUCTIONS, Kind.REMINDER, Kind.BILL_CHANGED])
@pytest.mark.parametrize("locale", ["sw", "en"])
@pytest.mark.parametrize("case", ["usual", "late"])
def test_that_an_order_is_paid_at_once_outranks_link_wallets_and_surname(
    kind: Kind, locale: str, case: str
) -> None:
    bill = replace(variants(kind, SMS, locale)[case], order_number=True, pay_url=LINK)
    sent = text(bill)
    assert ("Lipa yote kwa pamoja." if locale == "sw" else "Pay all at once.") in sent
    assert count(sent).segments == 1
    assert "889999" in sent


def test_a_long_name_becomes_the_first_name() -> None:
    bill = facts(Kind.REMINDER, SMS, "sw", name="Mwanahawa Abdulrahman Mwinyimkuu Kipingu")
    assert "Mwanahawa, kumbusho" in text(bill)


def test_a_partial_receipt_names_what_is_still_owed() -> None:
    part = variants(Kind.RECEIPT, SMS, "en")["part"]
    assert "we received TZS 20,000" in text(part)
    assert "Still to pay TZS 25,000" in text(part)
    assert "closed" not in text(part)


def test_a_receipt_of_too_much_names_the_credit() -> None:
    assert "You paid too much by TZS 5,000" in text(variants(Kind.RECEIPT, SMS, "en")["over"])
    assert "Umelipa zaidi kwa TZS 5,000" in text(variants(Kind.RECEIPT, SMS, "sw")["over"])


def test_a_receipt_says_that_an_order_number_is_closed() -> None:
    assert "Namba hii imefungwa." in text(sample_facts(Kind.RECEIPT, SMS, "sw"))


@pytest.mark.parametrize("locale", ["sw", "en"])
@pytest.mark.parametrize("new", [None, "55042914879999"])
@pytest.mark.parametrize("merchant", ["Shule Uhuru", "Shule ya Sekondari ya Wasichana Kibaha"])
@pytest.mark.parametrize("link", [None, LINK])
def test_a_partial_receipt_in_one_segment_keeps_its_receipt_number(
    locale: str, new: str | None, merchant: str, link: str | None
) -> None:
    bill = paid(
        Kind.RECEIPT, SMS, locale, amount=Decimal(1_020_000), balance=Decimal(1_250_000), next_number=new,
        reference="R203-117130",
    )  # fmt: skip
    bill = replace(bill, name="Mwanahawa Kipingu", pay_url=link, description="Ada ya muhula wa pili, kidato")
    sent = rendered(SmsContent, bill, renderer(merchant_name=merchant)).text
    assert "R203-117130" in sent
    assert count(sent).segments == 1


def test_a_long_description_is_cut_before_it_is_left_out_of_a_partial_receipt() -> None:
    bill = paid(Kind.RECEIPT, SMS, "sw", amount=Decimal(20000), balance=Decimal(25000), reference="R3-17")
    sent = text(replace(bill, name="Asha", pay_url=None, description="Ada ya muhula wa pili, kidato cha 3"))
    assert "(Ada ya mu" in sent
    assert ".. " not in sent
    assert "R3-17" in sent
    assert "Deni lililobaki TZS 25,000. Namba hii imefungwa." in sent


@pytest.mark.parametrize("length", range(8, 21))
def test_a_description_that_fits_but_for_its_brackets_is_cut_and_not_left_out(length: int) -> None:
    bill = facts(Kind.INSTRUCTIONS, SMS, "sw", name="Jumanne", description="Ada ya muhula", due_at=None)
    bill = replace(bill, pay_url=None)
    sent = rendered(SmsContent, bill, renderer(merchant_name="Uhuru " + "x" * (length - 6))).text
    assert "(Ada ya m" in sent or count(sent).units > 160 - len(" (Ada ya m..)")
    assert count(sent).segments == 1


@pytest.mark.parametrize(("locale", "owes"), [("sw", "Deni"), ("en", "Still to pay")])
def test_a_receipt_of_a_bill_that_was_ended_claims_no_debt_and_no_full_payment(
    locale: str, owes: str
) -> None:
    sent = text(variants(Kind.RECEIPT, SMS, locale)["ended"])
    assert owes not in sent
    assert "imelipwa yote" not in sent
    assert "fully paid" not in sent
    assert ("Huhitaji kulipa zaidi." if locale == "sw" else "You need not pay more.") in sent


def test_a_failed_payment_says_why_and_that_the_number_still_works() -> None:
    sent = text(sample_facts(Kind.PAYMENT_FAILED, SMS, "sw"))
    assert "hayakukamilika: salio halikutosha. Namba bado inatumika" in sent


def test_a_reason_nobody_translated_is_shown_as_it_came() -> None:
    assert "failed: Subscriber barred." in text(
        paid(Kind.PAYMENT_FAILED, SMS, "en", reason="Subscriber barred.")
    )


@pytest.mark.parametrize("given_payer", ["+255754123456", "255754123456", "0754 123 456"])
def test_nobodys_full_phone_is_in_a_receipt_or_a_reason(given_payer: str) -> None:
    bill = paid(Kind.PAYMENT_FAILED, SMS, payer=given_payer, reason=f"wallet {given_payer} is barred")
    assert "123456" not in text(bill).replace(" ", "")


def test_a_reminder_of_a_bill_that_is_late_says_so() -> None:
    assert "ilitakiwa" in text(variants(Kind.REMINDER, SMS, "sw")["late"])
    assert "was due" in text(variants(Kind.REMINDER, SMS, "en")["late"])


def test_a_merchant_no_sms_can_name_is_an_error_not_a_nameless_message() -> None:
    with pytest.raises(TemplateError, match="MERCHANT_NAME"):
        renderer(merchant_name="مدرسة").render(sample_facts(Kind.INSTRUCTIONS, SMS, "en"))


def test_more_segments_may_be_allowed() -> None:
    bill = facts(Kind.INSTRUCTIONS, SMS, "sw", pay_url=LINK)
    sent = rendered(SmsContent, bill, renderer(sms_max_segments=2)).text
    assert count(sent).segments == 2
    assert LINK in sent
    assert "Asha Juma" in sent


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("locale", ["sw", "en"])
@pytest.mark.parametrize(
    "name", ["Lukasz \U0001f389", "\U0001f389 Lukasz", "\u0633\u0644\u0645\u0649", "\U0001f389"]
)
def test_a_name_that_sms_cannot_write_leaves_no_gap(kind: Kind, locale: str, name: str) -> None:
    sent = text(facts(kind, SMS, locale, name=name))
    assert not re.search(r" [,.;:!?]|  |^[,.;:!?]|:,|: ,", sent)
