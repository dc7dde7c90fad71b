"""What a message is made of: WhatsApp's window of a day, and that what is kept of it is what its reader got."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from bot.engine.compose import retained
from bot.engine.engine import Engine
from bot.engine.scripts import put_clock_forward, put_clock_right
from channels.base import ChannelName, EmailContent, SmsContent, TelegramContent, WhatsAppContent
from tests.engine.conftest import job
from tests.engine.test_worker import Scripted, settled, until, working


def whatsapp(*, window_open: bool, template_text: str | None = "Bili 55.") -> WhatsAppContent:
    return WhatsAppContent("Habari, bili yako ni 55.", "HX1", {"1": "55"}, window_open, template_text)


def test_outside_the_window_the_template_is_kept() -> None:
    assert retained(whatsapp(window_open=False)) == "Bili 55."


def test_inside_the_window_the_free_text_is_kept() -> None:
    assert retained(whatsapp(window_open=True)) == "Habari, bili yako ni 55."


@pytest.fixture
def later() -> Iterator[Callable[[timedelta], None]]:
    """Lets time pass at once, until the test ends."""
    yield lambda age: put_clock_forward(age // timedelta(milliseconds=1))
    put_clock_right()


@pytest.mark.parametrize(
    ("age", "is_open"),
    [
        (None, False),
        (timedelta(), True),
        (timedelta(hours=23, minutes=50), True),
        (timedelta(hours=23, minutes=56), False),  # too close to the end for the way there
        (timedelta(hours=24, minutes=1), False),
    ],
)
async def test_a_customers_message_opens_whatsapps_window_for_a_day(
    engine: Engine, later: Callable[[timedelta], None], age: timedelta | None, is_open: bool
) -> None:
    channel = Scripted(name=ChannelName.WHATSAPP)
    if age is not None:
        await engine.contacts.inbound("whatsapp", "+255754000001")
        later(age)
    await engine.contacts.inbound("whatsapp", "+255754000002")  # somebody else's window
    await engine.shares.accept(job(channels=("whatsapp",), phone="+255754000001", due_in=None))
    async with working(engine, channel):
        await until(lambda: settled(engine))
    [sent] = channel.sent
    assert isinstance(sent.content, WhatsAppContent)
    assert sent.content.window_open is is_open


def test_other_channels_keep_their_text_and_mail_its_subject() -> None:
    mail = EmailContent(subject="Bili", text="Lipa", html="<p>Lipa", unsubscribe_url=None, reply_to=None)
    contents = (SmsContent("Lipa"), TelegramContent("<b>Lipa</b>"), mail)
    assert [retained(content) for content in contents] == ["Lipa", "<b>Lipa</b>", "Bili"]
