"""What is kept of a sent message is what its reader got."""

from __future__ import annotations

from bot.engine.compose import retained
from channels.base import EmailContent, SmsContent, TelegramContent, WhatsAppContent


def whatsapp(*, window_open: bool, template_text: str | None = "Bili 55.") -> WhatsAppContent:
    return WhatsAppContent("Habari, bili yako ni 55.", "HX1", {"1": "55"}, window_open, template_text)


def test_outside_the_window_the_template_is_kept() -> None:
    assert retained(whatsapp(window_open=False)) == "Bili 55."


def test_inside_the_window_the_free_text_is_kept() -> None:
    assert retained(whatsapp(window_open=True)) == "Habari, bili yako ni 55."


def test_other_channels_keep_their_text_and_mail_its_subject() -> None:
    mail = EmailContent(subject="Bili", text="Lipa", html="<p>Lipa", unsubscribe_url=None, reply_to=None)
    contents = (SmsContent("Lipa"), TelegramContent("<b>Lipa</b>"), mail)
    assert [retained(content) for content in contents] == ["Lipa", "<b>Lipa</b>", "Bili"]
