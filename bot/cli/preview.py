"""What a share would send, rendered before it is sent: nothing leaves, and no Redis is asked.

Links have the length that real ones have, so that segments are right; nothing is known here of opt-outs, of earlier
payments, or of chats that a customer linked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from bot.domain.bill import BillKind, BillMode, SkippedChannel
from bot.domain.creation import NO_CLICKPESA
from bot.domain.message import Kind
from bot.domain.share import ShareJob
from bot.errors import Problem, Refused, TemplateError
from bot.render.facts import Facts
from bot.render.segments import count
from bot.settings import Settings
from channels.base import ChannelName, Content, EmailContent, SmsContent, TelegramContent

if TYPE_CHECKING:
    from bot.render.templates import Renderer

_CLUSTER_PARTITIONS, _SINGLE_PARTITIONS = 256, 8
# As long as the number that will be made.
_NUMBER_TO_COME = "0" * 14
_NEEDS = {
    ChannelName.SMS: "phone",
    ChannelName.WHATSAPP: "phone",
    ChannelName.EMAIL: "email",
    ChannelName.TELEGRAM: "telegram",
}


class PreviewMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message as it would be sent. `encoding` and `segments` are those of an SMS, None elsewhere."""

    channel: ChannelName
    text: str
    subject: str | None = None
    encoding: str | None = None
    segments: int | None = None


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What one share would send. On a route `first`, later messages go out only if those before fail."""

    phone: str | None
    channels: list[ChannelName]
    skipped: list[SkippedChannel]
    messages: list[PreviewMessage]


class Previewer:
    """Renders shares. Without any channel that is on, it shows them all, as they would be once set up."""

    def __init__(self, settings: Settings, renderer: Renderer) -> None:
        self._settings, self._renderer = settings, renderer
        off = settings.channels_off()
        self.nothing_on = len(off) == len(ChannelName)
        self._off: Mapping[str, str] = {} if self.nothing_on else off
        partitions = settings.partitions or (
            _CLUSTER_PARTITIONS if "+cluster" in (settings.redis_url or "") else _SINGLE_PARTITIONS
        )
        self._token = f"{partitions - 1:x}-{'A' * 16}"

    def preview(self, job: ShareJob) -> Preview:
        """Render the instructions of every usable channel. Raises Refused if none can work, or a template is wrong."""
        _refuse_impossible(job, self._settings)
        obstacles = {channel: self._obstacle(job, channel) for channel in job.route.channels}
        usable = [channel for channel, why in obstacles.items() if why is None]
        if not usable:
            raise Refused(
                *(
                    Problem(field="route.channels", message=f"{name}: {why}")
                    for name, why in obstacles.items()
                )
            )
        return Preview(
            phone=job.customer.phone,
            channels=usable,
            skipped=[SkippedChannel(str(channel), why) for channel, why in obstacles.items() if why],
            messages=[self._message(job, channel) for channel in usable],
        )

    def check(self, job: ShareJob) -> None:
        """Refuse now what could not be rendered later; which channels work is for the engine. Raises Refused."""
        _refuse_impossible(job, self._settings)
        for channel in job.route.channels:
            if self._obstacle(job, channel) is None:
                try:
                    self._renderer.vet(self._facts(job, channel))
                except TemplateError as error:
                    raise _unfit(error) from error

    def _obstacle(self, job: ShareJob, channel: ChannelName) -> str | None:
        if channel in self._off:
            return f"off: set {self._off[channel]}"
        if getattr(job.customer, _NEEDS[channel]) is None:
            linked = channel is ChannelName.TELEGRAM
            return "the customer has not linked Telegram yet" if linked else f"no customer.{_NEEDS[channel]}"
        return None

    def _message(self, job: ShareJob, channel: ChannelName) -> PreviewMessage:
        try:
            content = self._renderer.render(self._facts(job, channel))
        except TemplateError as error:
            raise _unfit(error) from error
        return shown(channel, content)

    def _facts(self, job: ShareJob, channel: ChannelName) -> Facts:
        bill = job.bill
        return Facts(
            kind=Kind.INSTRUCTIONS,
            channel=channel,
            locale=job.customer.locale,
            template=job.template,
            message_id=f"{self._token}.1",
            name=job.customer.name,
            number=bill.number or _NUMBER_TO_COME,
            amount=bill.amount,
            total=bill.amount,
            paid=bill.amount - bill.amount,
            currency=bill.currency,
            description=bill.description,
            due_at=bill.due_at,
            order_number=bill.kind is BillKind.ORDER,
            exact=bill.mode is BillMode.EXACT,
            payment=None,
            pay_url=self._url(f"pay/{self._token}"),
            out_url=self._url(f"out/{self._token}.{channel}"),
            link_url=None,
            data=job.data,
            window_open=False,
        )

    def _url(self, path: str) -> str | None:
        return f"{self._settings.public_url}/{path}" if self._settings.public_url else None


def _unfit(error: TemplateError) -> Refused:
    return Refused(Problem(field="template", message=str(error)))


def _refuse_impossible(job: ShareJob, settings: Settings) -> None:
    if job.bill.number is None and not settings.makes_numbers:
        raise Refused(msgspec.structs.replace(NO_CLICKPESA, field="bill.create"))


def shown(channel: ChannelName, content: Content) -> PreviewMessage:
    """What a reader sees of `content`, and what it costs."""
    if isinstance(content, SmsContent):
        counted = count(content.text)
        return PreviewMessage(
            channel=channel, text=content.text, encoding=counted.encoding, segments=counted.segments
        )
    if isinstance(content, EmailContent):
        return PreviewMessage(channel=channel, text=content.text, subject=content.subject)
    return PreviewMessage(
        channel=channel, text=content.html if isinstance(content, TelegramContent) else content.sent_text
    )
