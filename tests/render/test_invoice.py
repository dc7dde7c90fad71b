"""The PDF of a bill: one page, right in every state and language, small, quick, and never with a dead number."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pypdfium2  # type: ignore[import-untyped]
import pytest
from msgspec import structs
from PIL import Image

from bot.domain.message import Kind
from bot.render import invoice as invoices
from bot.render.invoice import Invoice, Received
from bot.render.invoice_pdf import pdf
from bot.render.look import Look, read_logo
from bot.render.pagefiles import PageFiles
from bot.render.payment_methods import Method, methods
from bot.render.templates import Renderer
from channels.base import ChannelName, EmailContent
from tests.render.examples import facts, paid, rendered

NUMBER, ZONE = "55042914871931", "Africa/Dar_es_Salaam"
LOOK = Look(name="Shule ya Msingi Uhuru", contact="+255 22 212 3456", tin="123-456-789")
PAID = Received(
    at=datetime(2026, 11, 20, 9, tzinfo=UTC),
    amount=Decimal(20000),
    whole=Decimal(20000),
    currency="TZS",
    reference="55042914871931LCPA1B2C3",
)
OPEN = Invoice(
    locale="en",
    state="open",
    name="Asha Juma",
    number=NUMBER,
    description="Term 2 fees",
    amount=Decimal(45000),
    older=Decimal(0),
    total=Decimal(45000),
    paid=Decimal(0),
    credit=Decimal(0),
    currency="TZS",
    due_at=datetime(2026, 12, 1, 6, tzinfo=UTC),
    order_number=True,
    exact=False,
    payments=(),
    url="https://bili.example.co.tz/pay/3-3yUjRk2wQm8nTz5x",
)
SETTLED = replace(OPEN, state="paid", amount=Decimal(0), paid=Decimal(45000), payments=(PAID, PAID))
PARTLY = replace(OPEN, amount=Decimal(25000), paid=Decimal(20000), order_number=False, payments=(PAID,))
CLOSED = replace(OPEN, state="closed", amount=Decimal(25000), paid=Decimal(20000), payments=(PAID,))
WAYS = ("Mixx by Yas", "M-Pesa", "Airtel Money", "HaloPesa", "CRDB")


def drawn(invoice: Invoice, look: Look = LOOK, ways: Sequence[Method] = tuple(methods("123456"))) -> bytes:
    merchant = {"merchant": look.name, "tin": f"TIN {look.tin}"}
    words = PageFiles().words(invoice.locale, {**merchant, **invoice.facts(ZONE)})
    return pdf(invoice, look, ways, words, ZONE)


def text_of(data: bytes) -> str:
    """What a reader can select on the one page."""
    document = pypdfium2.PdfDocument(data)
    assert len(document) == 1
    return " ".join(document[0].get_textpage().get_text_range().split())


def columns_of(data: bytes) -> str:
    """The text of the page column after column: a reader of the whole page mixes those that stand side by side."""
    page = pypdfium2.PdfDocument(data)[0].get_textpage()
    runs = [(round(box[0] / 4), -box[3], page.get_text_bounded(*box)) for box in rectangles(data)]
    return " ".join(" ".join(text for _, _, text in sorted(runs)).split())


def test_an_open_bill_has_everything_to_pay_it() -> None:
    text = text_of(drawn(OPEN))
    for part in ("Asha Juma", "Term 2 fees", "TZS 45,000", "1 December 2026", "5504 2914 8719 31"):
        assert part in text
    for part in (*WAYS, "4. Type 889999", "TIN 123-456-789"):
        assert part in text
    assert "takes one payment only" in text
    assert "never asks for your PIN" in text


def test_it_speaks_swahili() -> None:
    text = text_of(drawn(replace(OPEN, locale="sw")))
    for part in ("Kiasi cha kulipa", "Namba ya malipo", "1 Desemba 2026", "Lipia Bili"):
        assert part in text


def test_after_payment_it_is_a_receipt_without_number_and_steps() -> None:
    text = text_of(drawn(SETTLED))
    for part in ("Receipt", "Paid. Thank you!", "55042914871931LCPA1B2C3", "ending in 1931"):
        assert part in text
    assert "5504 2914" not in text
    assert "Dial" not in text


@pytest.mark.parametrize("state", ["closed", "held", "stopped"])
@pytest.mark.parametrize("locale", ["sw", "en"])
def test_a_number_that_must_not_be_paid_is_not_on_it(state: str, locale: str) -> None:
    text = text_of(drawn(replace(CLOSED, state=state, payments=(), locale=locale)))
    assert not re.search(r"5504\s?2914", text)
    assert "889999" not in text


def test_a_part_payment_says_what_was_paid_and_what_is_left() -> None:
    text = text_of(drawn(CLOSED))
    assert "You have paid TZS 20,000 and still owe TZS 25,000" in text
    text = text_of(drawn(PARTLY))
    assert "Whole bill TZS 45,000 Paid so far TZS 20,000 Still to pay TZS 25,000" in text
    assert "5504 2914 8719 31" in text


@pytest.mark.parametrize("state", ["stopped", "held"])
def test_a_bill_that_nobody_may_pay_says_what_was_paid_and_asks_for_nothing(state: str) -> None:
    text = text_of(drawn(replace(CLOSED, state=state, older=Decimal(5000))))
    assert "Whole bill TZS 45,000 Paid so far TZS 20,000" in text
    for asked in ("25,000", "5,000 ", "Still to pay", "Pay by", "December"):
        assert asked not in text.replace("45,000", "")


def test_long_names_and_large_amounts_stay_on_the_page_and_apart() -> None:
    long = replace(
        OPEN,
        name="Zuhura Émile Ng'ombe " * 8,
        description="x" * 300,
        amount=Decimal("999999999.50"),
        total=Decimal("999999999.50"),
        number="ABCDEFGH12345678901Z",
    )
    look = replace(LOOK, name="Chuo Kikuu cha Sayansi na Teknolojia cha Mbeya, Idara ya Fedha " * 3)
    data = drawn(long, look)
    assert "TZS 999,999,999.50" in text_of(data)
    assert "ABCD EFGH 1234 5678 901Z" in text_of(data)
    within_and_apart(data)


def within_and_apart(data: bytes) -> None:
    """No text leaves the margins or stands on other text."""
    boxes = rectangles(data)
    assert all(left >= 48 - 1 and right <= 595 - 48 + 1 for left, _, right, _ in boxes)
    assert all(bottom >= 10 and top <= 842 for _, bottom, _, top in boxes)
    assert overlaps(boxes) == []


def rectangles(data: bytes) -> list[tuple[float, float, float, float]]:
    """Where each run of text stands: left, bottom, right, top, in points."""
    page = pypdfium2.PdfDocument(data)[0].get_textpage()
    return [page.get_rect(at) for at in range(page.count_rects())]


def overlaps(boxes: list[tuple[float, float, float, float]]) -> list[Any]:
    return [
        (one, other)
        for at, one in enumerate(boxes)
        for other in boxes[at + 1 :]
        if one[0] < other[2] - 1 and other[0] < one[2] - 1 and one[1] < other[3] - 1 and other[1] < one[3] - 1
    ]


PART = replace(PAID, amount=Decimal(0))
LARGE = Decimal("999999999.50")


@pytest.mark.parametrize("locale", ["sw", "en"])
@pytest.mark.parametrize("payments", [(), (PAID,), (PART, PAID, PART) * 5], ids=["none", "one", "many"])
@pytest.mark.parametrize("long", [False, True], ids=["plain", "long"])
@pytest.mark.parametrize("whole", [False, True], ids=["bare", "everything"])
def test_every_way_to_pay_is_on_the_page(
    tmp_path: Path, locale: str, payments: tuple[Received, ...], *, long: bool, whole: bool
) -> None:
    Image.new("RGB", (60, 20), "#204080").save(tmp_path / "logo.png")
    look = replace(LOOK, logo=read_logo(tmp_path / "logo.png")) if whole else Look(name=LOOK.name)
    bill = replace(OPEN, locale=locale, payments=payments, due_at=OPEN.due_at if whole else None)
    if payments:
        bill = replace(bill, order_number=False, amount=Decimal(25_000), paid=Decimal(20_000))
    if whole:
        bill = replace(bill, exact=True, older=Decimal(5_000), credit=Decimal(1_000))
    if long:
        look = replace(look, name="Chuo Kikuu cha Sayansi na Teknolojia cha Mbeya " * 2)
        bill = replace(bill, name="Zuhura Émile Ng'ombe " * 8, description="Ada ya muhula wa pili " * 14)
        bill = replace(bill, number="ABCDEFGH12345678901Z", amount=LARGE, total=LARGE)
    data = drawn(bill, look)
    text = columns_of(data)
    assert [name for name in WAYS if name not in text] == []
    # Each is complete: its steps to the last one, or its path through the menu.
    for method in methods("123456"):
        filled = {"number": bill.number, "amount": bill.money(bill.amount)}
        steps = " ".join(f"{n}. {step}" for n, step in enumerate(method.fill(locale, "ussd", **filled), 1))
        assert f"{method.name} {steps}" in text or f"{method.name}: {method.line(locale, **filled)}" in text
    for wanted in (bill.money(bill.amount), look.name.split()[0], look.tin or "", look.contact or ""):
        assert wanted in text
    if whole:
        assert {"sw": "1 Desemba 2026", "en": "1 December 2026"}[locale] in text
    within_and_apart(data)
    assert len(data) < 60 * 1024


def test_steps_stand_in_full_where_they_fit() -> None:
    assert "CRDB 1. Dial *150*03# 2. Choose 1, SimBanking, and log in 3." in columns_of(drawn(PARTLY))


def test_past_payments_make_room_for_ways_to_pay_and_are_counted() -> None:
    text = text_of(drawn(replace(PARTLY, payments=(PAID,) * 24)))
    shown = text.count(str(PAID.reference))
    assert 1 <= shown <= 4
    assert f"Before these: {24 - shown}" in text


def test_more_ways_to_pay_than_fit_are_named_as_more() -> None:
    many = [replace(method, name=f"Wallet {n}") for n in range(12) for method in methods("123456")]
    data = drawn(PARTLY, ways=many)
    text = text_of(data)
    assert "There are more ways to pay: see this bill's page, or ask Shule ya Msingi Uhuru." in text
    assert "Wallet 11" not in text
    within_and_apart(data)


@pytest.mark.parametrize("state", ["paid", "closed"])
def test_a_receipt_with_many_payments_and_long_names_stays_on_the_page(state: str) -> None:
    bill = replace(CLOSED, state=state, payments=(PART,) * 24, name="Zuhura Ng'ombe " * 12)
    data = drawn(replace(bill, description="Ada ya muhula wa pili " * 14, older=Decimal(5_000)))
    shown = text_of(data).count(str(PAID.reference))
    assert f"Before these: {24 - shown}" in text_of(data)
    within_and_apart(data)


def test_what_is_missing_leaves_a_whole_page() -> None:
    bare = replace(OPEN, name=None, description=None, due_at=None, url=None)
    text = text_of(drawn(bare, Look(name="Duka")))
    assert "TZS 45,000" in text
    assert "None" not in text
    assert "TIN" not in text.replace("TIN None", "")


@pytest.mark.parametrize("reference", [None, " ", "\u202e"])
def test_a_payment_without_a_reference_that_can_be_written_is_on_it(reference: str | None) -> None:
    text = text_of(drawn(replace(SETTLED, payments=(replace(PAID, reference=reference),))))
    assert "20 Nov 2026 - TZS 20,000" in text


def test_letters_that_the_fonts_lack_are_written_without_their_marks() -> None:
    text = text_of(drawn(replace(OPEN, name="Ṣọlá Łukasz Đỗ 李 \u202e", description="Ada – “ndiyo” … €")))
    assert "Solá ?ukasz ?o ?" in text
    assert "Ada – “ndiyo” … €" in text


def test_the_code_leads_to_the_page() -> None:
    data = drawn(OPEN)
    assert str(OPEN.url).encode() in data  # the code is a link too
    picture = pypdfium2.PdfDocument(data)[0].render(scale=3).to_pil().convert("L")
    # What stands there is the very pattern that the library makes for this address.
    import segno

    rows = [list(row) for row in segno.make(str(OPEN.url), error="m", micro=False).matrix]
    left, top, cell = (595 - 48 - 112) * 3, (92 + 34 - 10) * 3, 112 * 3 / len(rows)
    seen = [
        [
            picture.getpixel((int(left + (x + 0.5) * cell), int(top + (y + 0.5) * cell))) < 128
            for x in range(len(row))
        ]
        for y, row in enumerate(rows)
    ]
    assert seen == [[bool(module) for module in row] for row in rows]


def test_the_largest_page_is_small(tmp_path: Path) -> None:
    Image.frombytes("RGB", (40, 44), random.Random(1).randbytes(40 * 44 * 3)).save(tmp_path / "logo.png")
    look = replace(LOOK, logo=read_logo(tmp_path / "logo.png"))
    long = replace(OPEN, description="Ada ya muhula " * 20, name="Asha Juma " * 20, payments=(PAID,) * 24)
    assert len(drawn(long, look)) < 60 * 1024


def test_the_same_facts_make_the_same_bytes() -> None:
    assert drawn(OPEN) == drawn(OPEN)


# In mail


def email(mode: Any, kind: Kind = Kind.INSTRUCTIONS, locale: str = "en", **changes: Any) -> EmailContent:
    made = Renderer(merchant_name="Shule", look=LOOK, email_invoice=mode)
    return rendered(EmailContent, facts(kind, ChannelName.EMAIL, locale, **changes), made)


@pytest.mark.parametrize("kind", [Kind.INSTRUCTIONS, Kind.REMINDER, Kind.BILL_CHANGED, Kind.RECEIPT])
@pytest.mark.parametrize("locale", ["sw", "en"])
def test_mail_links_the_invoice(kind: Kind, locale: str) -> None:
    mail = email("link", kind=kind, locale=locale)
    assert f"/invoice.pdf?lang={locale}" in mail.text
    assert f"/invoice.pdf?lang={locale}" in mail.html
    assert mail.attachment is None


def test_mail_attaches_the_invoice() -> None:
    mail = email("attach", number=NUMBER)
    assert mail.attachment is not None
    assert (mail.attachment.name, mail.attachment.media_type) == ("bill-1931.pdf", "application/pdf")
    assert "5504 2914 8719 31" in text_of(mail.attachment.data)
    assert "invoice.pdf" not in mail.text


def test_mail_attaches_the_receipt() -> None:
    mail = email("attach", kind=Kind.RECEIPT)
    assert mail.attachment is not None
    assert re.fullmatch(r"(bill|receipt)-[0-9]{4}\.pdf", mail.attachment.name)


@pytest.mark.parametrize("mode", ["none", "link", "attach"])
@pytest.mark.parametrize("kind", [Kind.PAYMENT_FAILED, Kind.CORRECTION])
def test_money_that_did_not_come_or_went_back_has_no_invoice(mode: str, kind: Kind) -> None:
    mail = email(mode, kind=kind)
    assert mail.attachment is None
    assert "invoice.pdf" not in mail.text + mail.html


def test_mail_has_none_where_that_is_set() -> None:
    mail = email("none")
    assert mail.attachment is None
    assert "invoice.pdf" not in mail.text + mail.html


def test_a_receipt_that_closed_its_number_is_a_warning() -> None:
    told = paid(Kind.RECEIPT, ChannelName.EMAIL, balance=Decimal(25000), number_closed=True)
    told = structs.replace(told, amount=Decimal(25000))
    assert invoices.of_message(told, "en").state == "closed"
    assert invoices.of_message(told, "en").note == "closed_note"
    assert invoices.of_message(structs.replace(told, renewing=True), "en").note == "renewing"
    told = paid(Kind.RECEIPT, ChannelName.EMAIL, balance=Decimal(25000), number_closed=False)
    assert invoices.of_message(structs.replace(told, amount=Decimal(25000)), "en").state == "open"
    told = paid(Kind.RECEIPT, ChannelName.EMAIL, balance=Decimal(0), number_closed=True)
    assert invoices.of_message(told, "en").state == "paid"


def test_a_receipt_of_a_bill_that_was_stopped_does_not_say_that_it_is_paid() -> None:
    told = paid(Kind.RECEIPT, ChannelName.EMAIL, balance=Decimal(0), amount=Decimal(20000), ended=True)
    made = invoices.of_message(
        structs.replace(told, amount=Decimal(25000), total=Decimal(45000), paid=Decimal(20000)), "en"
    )
    text = text_of(drawn(made))
    assert "This bill has been stopped Whole bill TZS 45,000 Paid so far TZS 20,000" in text
    assert "Paid. Thank you!" not in text
    assert "25,000" not in text


def test_a_receipt_of_a_bill_that_is_paid_asks_for_no_other_bill() -> None:
    told = paid(Kind.RECEIPT, ChannelName.EMAIL, balance=Decimal(45000), number_closed=False)
    assert invoices.of_message(structs.replace(told, amount=Decimal(0)), "en").state == "paid"


def test_a_receipt_that_names_the_next_number_is_its_invoice() -> None:
    told = paid(
        Kind.RECEIPT,
        ChannelName.EMAIL,
        balance=Decimal(25000),
        number_closed=True,
        next_number="55042914871948",
    )
    made = invoices.of_message(structs.replace(told, amount=Decimal(25000)), "en")
    assert (made.state, made.number) == ("open", "55042914871948")
    assert "5504 2914 8719 48" in text_of(drawn(made))


def test_a_receipt_lists_what_of_a_payment_was_for_its_bill() -> None:
    told = paid(
        Kind.RECEIPT,
        ChannelName.EMAIL,
        amount=Decimal(80000),
        here=Decimal(30000),
        credit=Decimal(5000),
        credit_here=False,
    )
    made = invoices.of_message(structs.replace(told, amount=Decimal(0)), "en")
    assert ([each.amount for each in made.payments], made.credit) == ([Decimal(30000)], Decimal(0))
    assert "of TZS 80,000 that was paid" in text_of(drawn(made))


def test_while_a_new_number_is_made_the_page_says_that_it_comes() -> None:
    text = text_of(drawn(replace(CLOSED, renewing=True)))
    assert "A new number is being made" in text
    assert "for a new number" not in text
