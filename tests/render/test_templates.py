"""What the renderer makes for each channel, and how a merchant's own templates take over."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bot.domain.message import Kind
from bot.errors import TemplateError
from bot.render.jinja import Sandbox
from bot.render.library import templates_dir
from bot.render.samples import sample_facts, variants
from channels.base import Button, ChannelName, EmailContent, SmsContent, TelegramContent, WhatsAppContent
from tests.render.examples import facts, paid, rendered, renderer, write

EMAIL, TELEGRAM, WHATSAPP, SMS = (
    ChannelName.EMAIL,
    ChannelName.TELEGRAM,
    ChannelName.WHATSAPP,
    ChannelName.SMS,
)
NASTY = "<b>Asha</b> & \"Co\" 'x'"


class Text(HTMLParser):
    """The words of an HTML text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words = ""
        self.feed(html)

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.parametrize("language", ["sw", "en"])
@pytest.mark.parametrize("kind", list(Kind))
def test_a_mail_says_the_same_in_text_and_html(kind: Kind, language: str) -> None:
    mail = rendered(EmailContent, sample_facts(kind, EMAIL, language))
    words = Text(mail.html).words
    for wanted in ("55042914871931", "Shule Uhuru", "Asha Juma", "0754 000 111"):
        assert wanted in mail.text
        assert wanted in words
    assert mail.subject.startswith("Shule Uhuru: ")


@pytest.mark.parametrize("kind", list(Kind))
def test_a_mail_loads_nothing_from_elsewhere(kind: Kind) -> None:
    html = rendered(EmailContent, sample_facts(kind, EMAIL, "en")).html
    assert not re.search(r"<(?:img|link|script|iframe)\b|url\(|@import", html, re.IGNORECASE)
    assert set(re.findall(r'href="(https?://[^/"]+)', html)) <= {"https://lipa.example.co.tz", "https://t.me"}


def test_a_mail_is_styled_inline_and_knows_dark_mode() -> None:
    html = rendered(EmailContent, sample_facts(Kind.INSTRUCTIONS, EMAIL, "en")).html
    body = re.sub(r"<!--.*?-->", "", html.partition("<body")[2])
    assert all("style=" in tag for tag in re.findall(r"<(?:td|p|a|h2|ol)\b[^>]*>", body))
    assert "prefers-color-scheme: dark" in html
    assert '<html lang="en">' in html


@pytest.mark.parametrize("channel", [EMAIL, TELEGRAM])
def test_html_is_escaped_once_and_links_stay_whole(channel: ChannelName) -> None:
    given = facts(
        Kind.INSTRUCTIONS, channel, name=NASTY, description=NASTY, pay_url="https://x.example/p?a=1&b=2"
    )
    content = renderer().render(given)
    assert isinstance(content, EmailContent | TelegramContent)
    assert "<b>Asha</b>" not in content.html
    assert "&amp;amp;" not in content.html
    assert NASTY in Text(content.html).words


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("a.html", "https://a/b?c=1&amp;d &amp;#x2f; &lt;i&gt; &quot;&#x27;"),
        ("a.txt", "https://a/b?c=1&d &#x2f; <i> \"'"),
    ],
)
def test_a_value_is_escaped_for_html_alone_and_its_slashes_stay(name: str, seen: str) -> None:
    sandbox = Sandbox({name: "{{ value }}{{ nothing }}"}.get)
    assert sandbox.render(name, {"value": "https://a/b?c=1&d &#x2f; <i> \"'", "nothing": ""}) == seen


def test_no_line_break_in_a_name_reaches_a_subject() -> None:
    own = facts(Kind.INSTRUCTIONS, EMAIL, description="Ada\r\nBcc: a@example.com\x00\u202e", name="A\nB")
    mail = rendered(EmailContent, own, renderer(merchant_name="Shule\r\nX: y"))
    assert not re.search(r"[\r\n\x00]", mail.subject)
    assert "Ada Bcc: a@example.com." not in mail.subject
    assert "A B" in mail.text


def test_a_mail_can_be_answered_and_unsubscribed_from() -> None:
    given = sample_facts(Kind.REMINDER, EMAIL, "en")
    mail = rendered(EmailContent, given, renderer(merchant_contact="bili@shule.example"))
    assert mail.reply_to == "bili@shule.example"
    assert mail.unsubscribe_url == given.out_url
    assert rendered(EmailContent, given).reply_to is None


def test_telegram_offers_the_number_to_copy_and_the_page_to_open() -> None:
    given = sample_facts(Kind.INSTRUCTIONS, TELEGRAM, "sw")
    content = rendered(TelegramContent, given)
    assert content.buttons == (
        (Button("Nakili namba", copy="55042914871931"),),
        (Button("Fungua bili", url=given.pay_url),),
    )
    assert "<code>55042914871931</code>" in content.html


def test_a_closed_number_is_not_offered_to_copy() -> None:
    buttons = rendered(TelegramContent, sample_facts(Kind.RECEIPT, TELEGRAM, "en")).buttons
    assert not [button for row in buttons for button in row if button.copy]


def test_a_partly_paid_number_is_offered_again() -> None:
    buttons = rendered(TelegramContent, variants(Kind.RECEIPT, TELEGRAM, "en")["part"]).buttons
    assert buttons[0][0].copy == "55042914871931"


def test_a_page_that_telegram_would_refuse_gets_no_button() -> None:
    given = facts(Kind.INSTRUCTIONS, TELEGRAM, pay_url="http://localhost:8000/pay/x")
    assert len(rendered(TelegramContent, given).buttons) == 1


@pytest.mark.parametrize("channel", [EMAIL, WHATSAPP])
def test_other_channels_carry_the_telegram_link_until_it_is_used(channel: ChannelName) -> None:
    with_link = renderer().render(
        facts(Kind.INSTRUCTIONS, channel, link_url="https://t.me/shule_bot?start=abc")
    )
    without = renderer().render(facts(Kind.INSTRUCTIONS, channel, link_url=None))
    assert isinstance(with_link, EmailContent | WhatsAppContent)
    assert isinstance(without, EmailContent | WhatsAppContent)
    assert "https://t.me/shule_bot?start=abc" in with_link.text
    assert "t.me" not in without.text


def test_an_sms_never_carries_the_telegram_link() -> None:
    given = facts(Kind.RECEIPT, SMS, link_url="https://t.me/b?start=a", description=None)
    assert "t.me" not in rendered(SmsContent, given).text


@pytest.mark.parametrize("channel", [EMAIL, WHATSAPP, TELEGRAM])
@pytest.mark.parametrize("language", ["sw", "en"])
def test_long_channels_warn_that_nobody_asks_for_a_pin(channel: ChannelName, language: str) -> None:
    content = renderer().render(sample_facts(Kind.INSTRUCTIONS, channel, language))
    text = content.html if isinstance(content, TelegramContent) else getattr(content, "text", "")
    warning = "Usimpe mtu yeyote namba yako ya siri" if language == "sw" else "Never give your PIN to anyone"
    assert warning in text


def test_mpesa_steps_need_the_merchants_number() -> None:
    given = sample_facts(Kind.INSTRUCTIONS, EMAIL, "en")
    assert "M-Pesa" not in rendered(EmailContent, given).text
    assert "Type 5551234" in rendered(EmailContent, given, renderer(mpesa_business_number="5551234")).text


def test_whatsapp_text_without_mapping_has_no_template() -> None:
    content = rendered(WhatsAppContent, facts(Kind.INSTRUCTIONS, WHATSAPP, window_open=True))
    assert (content.content_sid, content.variables, content.window_open) == (None, {}, True)
    assert "\n\n\n" not in content.text


def test_a_whatsapp_text_over_the_limit_leaves_the_steps_to_the_page() -> None:
    link = "https://example.co.tz/" + "x" * 400
    content = rendered(
        WhatsAppContent, facts(Kind.INSTRUCTIONS, WHATSAPP, description="d" * 300, pay_url=link)
    )
    assert len(content.text) <= 1600
    assert link in content.text


def test_the_merchants_folder_wins_file_by_file(tmp_path: Path) -> None:
    own = renderer(
        overrides=write(tmp_path, "default/en/reminder.sms.txt", "{{ merchant }}: pay {{ number }}!")
    )
    assert (
        rendered(SmsContent, sample_facts(Kind.REMINDER, SMS, "en"), own).text
        == "Shule Uhuru: pay 55042914871931!"
    )
    assert "Kumbusho" not in rendered(SmsContent, sample_facts(Kind.RECEIPT, SMS, "en"), own).text


def test_a_set_of_ones_own_falls_back_to_the_default_set(tmp_path: Path) -> None:
    own = renderer(
        overrides=write(tmp_path, "school/sw/reminder.sms.txt", "{{ merchant }}: {{ data.student }}")
    )
    reminder = facts(Kind.REMINDER, SMS, "sw", template="school", data={"student": "Juma A."})
    assert rendered(SmsContent, reminder, own).text == "Shule Uhuru: Juma A."
    assert "tumepokea" in rendered(SmsContent, facts(Kind.RECEIPT, SMS, "sw", template="school"), own).text


@pytest.mark.parametrize(
    ("language", "word"), [("sw-TZ", "lipa"), ("en_GB", "pay"), ("fr", "lipa"), ("", "lipa")]
)
def test_a_language_without_templates_falls_back(language: str, word: str) -> None:
    sent = rendered(SmsContent, facts(Kind.INSTRUCTIONS, SMS, language, pay_url=None)).text
    assert re.match(rf"Shule Uhuru: Asha( Juma)?, {word} TZS", sent)


def test_the_merchants_language_comes_before_english() -> None:
    given = facts(Kind.INSTRUCTIONS, SMS, "fr")
    assert "pay" in rendered(SmsContent, given, renderer(default_locale="en")).text


@pytest.mark.parametrize("template", ["nothing", "../default", "default/sw", "pages", ""])
def test_a_template_set_that_is_not_there_is_an_error(template: str) -> None:
    with pytest.raises(TemplateError, match="no template set"):
        renderer().render(facts(Kind.INSTRUCTIONS, SMS, template=template))


def test_a_missing_value_names_file_line_and_variable_and_no_customer(tmp_path: Path) -> None:
    own = renderer(
        overrides=write(tmp_path, "default/en/reminder.sms.txt", "{{ merchant }}\n{{ data.student }}")
    )
    with pytest.raises(TemplateError) as raised:
        own.render(sample_facts(Kind.REMINDER, SMS, "en"))
    assert str(raised.value).startswith("default/en/reminder.sms.txt:2: ")
    assert "data.student" in str(raised.value)
    assert "Asha" not in str(raised.value)


@pytest.mark.parametrize(
    "bomb",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        '{{ ("x" * 2000000000)|length }}',
    ],
)
def test_a_template_that_runs_away_is_stopped(tmp_path: Path, bomb: str) -> None:
    own = renderer(overrides=write(tmp_path, "default/en/reminder.sms.txt", bomb))
    with pytest.raises(TemplateError, match="fuel"):
        own.render(sample_facts(Kind.REMINDER, SMS, "en"))


@pytest.mark.parametrize(
    "reach", ["{{ merchant.__class__ }}", "{{ data.__class__ }}", "{{ [].__class__.mro() }}"]
)
def test_a_template_cannot_reach_python(tmp_path: Path, reach: str) -> None:
    own = renderer(overrides=write(tmp_path, "default/en/reminder.sms.txt", reach))
    with pytest.raises(TemplateError):
        own.render(sample_facts(Kind.REMINDER, SMS, "en"))


def test_a_line_of_tags_alone_leaves_no_empty_line(tmp_path: Path) -> None:
    text = "a\n{% if name %}\nb\n  {% endif %}\n{# no\nword #}\nc\n{{ number }}"
    own = renderer(overrides=write(tmp_path, "default/en/reminder.whatsapp.txt", text))
    assert (
        rendered(WhatsAppContent, sample_facts(Kind.REMINDER, WHATSAPP, "en"), own).text
        == "a\nb\nc\n55042914871931"
    )


def test_a_receipt_without_a_payment_is_an_error() -> None:
    with pytest.raises(TemplateError, match="receipt needs a payment"):
        renderer().render(facts(Kind.RECEIPT, EMAIL, payment=None))


@pytest.mark.parametrize("channel", [EMAIL, TELEGRAM, WHATSAPP])
def test_a_receipt_never_shows_the_payers_full_phone(channel: ChannelName) -> None:
    content = renderer().render(paid(Kind.RECEIPT, channel, payer="+255754123456"))
    assert "754123456" not in str(content)
    assert "3456" in str(content)


def test_the_version_changes_with_any_template(tmp_path: Path) -> None:
    own = renderer(overrides=write(tmp_path, "default/en/reminder.sms.txt", "x"))
    assert re.fullmatch(r"[0-9a-f]{12}", own.version)
    assert own.version != renderer().version
    assert renderer().version == renderer().version


def test_the_list_has_every_kind_channel_and_language(tmp_path: Path) -> None:
    listed = renderer(overrides=write(tmp_path, "default/en/reminder.sms.txt", "x")).list()
    assert len(listed) == 2 * len(Kind) * len(ChannelName)
    assert [(entry.kind, entry.channel, entry.locale) for entry in listed if entry.overridden] == [
        (Kind.REMINDER, SMS, "en")
    ]


def test_a_template_tells_which_data_it_needs(tmp_path: Path) -> None:
    own = renderer(
        overrides=write(tmp_path, "school/en/reminder.sms.txt", "{{ data.student }} {{ data.form }}")
    )
    assert own.data_fields("school", "en", Kind.REMINDER, SMS) == {"student", "form"}


def test_the_shipped_folder_is_found() -> None:
    assert (templates_dir() / "default" / "sw" / "instructions.sms.txt").is_file()
