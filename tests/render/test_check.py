"""The template check finds what would otherwise be found by a customer."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.render.check import Finding
from bot.render.rules import in_source, in_text
from channels.base import ChannelName
from tests.render.examples import renderer, write

GOOD = "{{ merchant }}: lipa {{ amount }} kwa {{ number }}"
SMS = ChannelName.SMS


def findings(folder: Path, name: str, text: str) -> list[Finding]:
    return renderer(overrides=write(folder, name, text)).check()


def messages(text: str, channel: ChannelName = SMS) -> list[str]:
    return [wrong.message for wrong in in_text(text, channel)]


@pytest.mark.parametrize("mpesa", [None, "5551234"])
@pytest.mark.parametrize("contact", [None, "0754 000 111", "bili@shule.example"])
def test_the_shipped_templates_have_nothing_wrong(mpesa: str | None, contact: str | None) -> None:
    assert renderer(mpesa_business_number=mpesa, merchant_contact=contact).check() == []


def test_the_shipped_templates_suit_a_merchant_with_a_full_stop_and_a_long_name() -> None:
    assert renderer(merchant_name="St. Mary's Co. Ltd. €[Wasichana] ya Kibaha na Bagamoyo").check() == []


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (GOOD + "\n{{ nme }}", 2, "unknown variable nme"),
        (GOOD + "\n{{ payment.sum }}", 2, "unknown variable payment.sum"),
        (GOOD + "\n{{ methods }}", 2, "unknown variable methods"),
        (GOOD + "\n{% if %}", 2, "unexpected end of block"),
        (GOOD + "\n\nleo – kesho", 3, "'–' is not in the SMS alphabet; write -"),
        (GOOD + " 😀", 1, "is not in the SMS alphabet; leave it out"),
        (GOOD + "\nTuma PIN yako", 2, "asks for a PIN"),
        (GOOD + "\nJibu STOP kuacha", 2, "SMS is one-way"),
        (GOOD + "\nLipa kwa 0754 123 456", 2, "a bare phone number to pay to"),
        (GOOD + "\nPiga 0754123456", 2, "use {{ merchant_contact }}"),
        (GOOD + "\nChagua Malipo ya Serikali", 2, "government-payments menu"),
        (GOOD + "\n55042914871931", 2, "the same for everybody"),
        ("{{ merchant }}: lipa {{ amount }}", None, "does not show 55042914871931"),
        ("{{ merchant }}: lipa kwa {{ number }}", None, "does not show TZS 45,000"),
        ("Lipa {{ amount }} kwa {{ number }}", None, "does not start with the merchant's name"),
        (GOOD + " " + "neno " * 40, None, "SMS segments at the shortest, 1 allowed"),
    ],
)
def test_what_is_wrong_with_an_sms_is_found_with_its_place(
    tmp_path: Path, text: str, line: int | None, message: str
) -> None:
    found = findings(tmp_path, "default/sw/reminder.sms.txt", text)
    assert (line, True) in {(finding.line, message in finding.message) for finding in found}
    assert {finding.file for finding in found} == {"default/sw/reminder.sms.txt"}


def test_an_unknown_placeholder_in_words_alone_is_a_warning_not_an_error(tmp_path: Path) -> None:
    found = findings(tmp_path, "default/sw/reminder.sms.txt", GOOD + "\nPiga 0754123456")
    assert [finding.severity for finding in found] == ["warning"]


def test_a_comment_may_say_anything(tmp_path: Path) -> None:
    assert findings(tmp_path, "default/sw/reminder.sms.txt", "{# Tuma PIN – 0754123456 #}" + GOOD) == []


@pytest.mark.parametrize(
    ("html", "message"),
    [
        ("{{ number }} {{ amount }} <p>x</p>", "<p> is not a tag that Telegram takes"),
        ("{{ number }} {{ amount }} <b>x", "<b> is not closed"),
        ("{{ number }} {{ amount }} x</b>", "</b> closes nothing"),
    ],
)
def test_markup_that_telegram_refuses_is_found(tmp_path: Path, html: str, message: str) -> None:
    found = findings(tmp_path, "default/sw/reminder.telegram.html", html)
    assert [finding.message for finding in found] == [message]


def test_half_a_mail_is_found(tmp_path: Path) -> None:
    found = findings(tmp_path, "school/sw/reminder.email.txt", "{{ number }}")
    assert {finding.file for finding in found} == {
        "school/sw/reminder.email.html",
        "school/sw/reminder.email.subject.txt",
    }


def test_a_language_begun_must_be_whole(tmp_path: Path) -> None:
    found = findings(tmp_path, "default/fr/reminder.sms.txt", GOOD)
    missing = {finding.file for finding in found if finding.message == "is missing"}
    assert "default/fr/receipt.telegram.html" in missing
    assert "default/fr/reminder.sms.txt" not in missing


def test_a_file_that_no_message_uses_is_told(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, "default/sw/remainder.sms.txt", GOOD)
    assert (found.severity, "no message uses" in found.message) == ("warning", True)


def test_words_that_are_missing_are_found(tmp_path: Path) -> None:
    found = findings(tmp_path, "default/sw/words.toml", 'open_bill = "Fungua"')
    assert any(finding.message == "copy_number is missing" for finding in found)


def test_a_file_that_is_not_text_is_found(tmp_path: Path) -> None:
    path = tmp_path / "default" / "sw" / "reminder.sms.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\xff\xfe{{ number }}")
    assert any("not UTF-8" in finding.message for finding in renderer(overrides=tmp_path).check())


def test_a_share_data_field_is_not_an_unknown_variable(tmp_path: Path) -> None:
    assert findings(tmp_path, "school/sw/reminder.sms.txt", GOOD + " {{ data.student }}") == []


def test_a_folder_that_is_not_there_is_found(tmp_path: Path) -> None:
    assert [finding.file for finding in renderer(overrides=tmp_path / "none").check()] == ["TUMA_TEMPLATES"]


def test_a_finding_reads_as_one_line() -> None:
    assert str(Finding("a/sw/b.txt", 3, "is wrong", "error")) == "a/sw/b.txt:3: error: is wrong"
    assert str(Finding("MERCHANT_NAME", None, "is empty", "warning")) == "MERCHANT_NAME: warning: is empty"


def test_a_merchant_that_no_sms_can_name_is_found() -> None:
    found = renderer(merchant_name="مدرسة").check()
    assert ("MERCHANT_NAME", None) in {(finding.file, finding.line) for finding in found}


@pytest.mark.parametrize(
    "text",
    [
        "Tuma namba yako ya siri ili kulipa",
        "Reply with your PIN",
        "Weka PIN yako hapa",
        "Do not forget to enter your PIN",
        "Andika nywila yako",
        "Send us the OTP.",
    ],
)
def test_asking_for_a_secret_is_refused(text: str) -> None:
    assert any("PIN" in message for message in messages(text, ChannelName.EMAIL))


@pytest.mark.parametrize(
    "text",
    [
        "Usimpe mtu yeyote namba yako ya siri (PIN): sisi hatuiombi.",
        "Never give your PIN to anyone: we do not ask for it.",
        "Hakuna mtu wa shule atakayekuomba PIN.",
        "Nobody will ask for your password.",
        "Pini ya nguo",
    ],
)
def test_a_warning_about_secrets_is_welcome(text: str) -> None:
    assert messages(text) == []


@pytest.mark.parametrize(
    "text",
    ["Reply STOP to opt out", "Jibu ACHA kusitisha", "Tuma neno STOP", "STOP to 15050", "Andika ONDOA"],
)
def test_a_reply_that_cannot_arrive_is_refused_on_sms_alone(text: str) -> None:
    assert any("one-way" in message for message in messages(text))
    assert messages(text, ChannelName.WHATSAPP) == []


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("Lipa kwa 0754 123 456", True),
        ("Tuma pesa kwenda namba +255754123456", True),
        ("Send TZS 5,000 to 0754-123-456", True),
        ("M-Pesa 0754123456", True),
        ("Tuma kwa 0754123456 au piga simu", True),
        ("Maswali kuhusu malipo: piga 0754 123 456", False),
        ("Call 0754 123 456 for help with your payment", False),
        ("Lipa kwa namba ya malipo 55042914871931", False),
        ("Kampuni: Mixx/HaloPesa 889999", False),
    ],
)
def test_a_phone_to_pay_to_is_told_from_a_phone_to_call(text: str, refused: bool) -> None:
    assert any("bare phone" in message for message in messages(text)) is refused


def test_the_merchants_contact_is_no_number_to_pay_to() -> None:
    found = list(in_source("Lipa kwa {{ merchant_contact }}", SMS, html=False))
    assert any("bare phone" in wrong.message for wrong in found)
    assert list(in_source("Maswali? {{ merchant_contact }}", SMS, html=False)) == []


def test_words_are_read_through_markup_and_tags() -> None:
    found = list(in_source("<p>Never</p>\n<p>Send your <b>PIN</b> now</p>", ChannelName.EMAIL, html=True))
    assert [wrong.at for wrong in found] == ["<p>Never</p>\n<p>Send your <b>PIN".index("PIN")]


def test_words_inside_expressions_are_read_too() -> None:
    found = list(in_source("{{ small('Send your PIN') }}", ChannelName.EMAIL, html=False))
    assert ["PIN" in wrong.message for wrong in found] == [True]


def test_the_government_menu_may_only_be_warned_against() -> None:
    assert messages("Chagua Malipo ya Serikali") != []
    assert messages("Usichague Malipo ya Serikali") == []
